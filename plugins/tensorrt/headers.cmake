# Finds TensorRT's headers: sets TENSORRT_INCLUDE_DIR and tensorrt_version, or tensorrt_missing to what is missing.
set(tensorrt_missing "")
set(tensorrt_version 0)

# Given, by -D or in the environment, or JetPack's and the SDK's usual places. What is given is not looked for elsewhere.
if(NOT TENSORRT_INCLUDE_DIR AND NOT "$ENV{TENSORRT_INCLUDE_DIR}" STREQUAL "")
    set(TENSORRT_INCLUDE_DIR "$ENV{TENSORRT_INCLUDE_DIR}")
endif()
if(NOT TENSORRT_INCLUDE_DIR)
    find_path(TENSORRT_INCLUDE_DIR NvInferRuntime.h
        PATHS /usr/include/${CMAKE_SYSTEM_PROCESSOR}-linux-gnu /usr/local/tensorrt/include
        HINTS $ENV{TENSORRT_ROOT}/include
        DOC "Folder of NvInferRuntime.h, TensorRT 10.0 or later")
endif()
if(NOT TENSORRT_INCLUDE_DIR)
    set(tensorrt_missing "no TensorRT headers found (-DTENSORRT_INCLUDE_DIR=folder of NvInferRuntime.h, or the environment variable)")
    return()
endif()

# The version numbers are literals before 10.13, names of other macros since.
if(EXISTS ${TENSORRT_INCLUDE_DIR}/NvInferVersion.h)
    file(STRINGS ${TENSORRT_INCLUDE_DIR}/NvInferVersion.h lines REGEX "define (NV_TENSORRT|TRT)_M(AJOR|INOR)(_ENTERPRISE)? +[0-9]")
    if(lines MATCHES "MAJOR[A-Z_]* +([0-9]+)")
        set(tensorrt_version ${CMAKE_MATCH_1})
    endif()
    if(lines MATCHES "MINOR[A-Z_]* +([0-9]+)")
        string(APPEND tensorrt_version .${CMAKE_MATCH_1})
    endif()
endif()
if(tensorrt_version VERSION_LESS 10.0)
    string(CONCAT tensorrt_missing "${TENSORRT_INCLUDE_DIR} is TensorRT ${tensorrt_version}, plugins need 10.0 "
        "(the portable model file runs without them)")
endif()
