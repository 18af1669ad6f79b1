# The compilers and the CUDA runtime, the GPU architectures, and how strictly everything is compiled. Included by the
# directory above all targets: CMake makes languages and imported targets known from there downwards.
set(SPARSEVIT_CUDA_ARCHITECTURES "" CACHE STRING
    "CUDA architectures of the kernels, such as 87 (Orin), 110 (Thor), 86;89; empty: the common ones for this machine")

if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release)
endif()
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES OFF) # decided below, once the compiler's version is known
endif()
enable_language(CXX)
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
if(CMAKE_CROSSCOMPILING)
    # Newer CMakes name the target's own header folder, which a host's toolkit lacks; cross_aarch64.sh gives the headers.
    set_target_properties(CUDA::cudart_static CUDA::toolkit PROPERTIES
        INTERFACE_INCLUDE_DIRECTORIES "" INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "")
endif()

if(SPARSEVIT_CUDA_ARCHITECTURES)
    set(sparsevit_architectures ${SPARSEVIT_CUDA_ARCHITECTURES})
elseif(CMAKE_SYSTEM_PROCESSOR STREQUAL "aarch64")
    set(sparsevit_architectures 87)
    if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 13.0)
        list(APPEND sparsevit_architectures 110)
    endif()
else()
    # Code for 80 runs on 86, 87 and 89, too; every one more takes a minute of compiling.
    set(sparsevit_architectures 80 90)
    if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.8)
        list(APPEND sparsevit_architectures 120)
    endif()
endif()

# Warnings are errors, and no symbol is visible unless its declaration says so.
function(sparsevit_compile_strictly target)
    target_compile_features(${target} PRIVATE cxx_std_17)
    target_compile_options(${target} PRIVATE
        $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wconversion -Wshadow -Werror>
        $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings -Xcompiler=-Wall,-Wextra,-Werror>)
    set_target_properties(${target} PROPERTIES
        CXX_EXTENSIONS OFF
        CUDA_EXTENSIONS OFF
        CXX_VISIBILITY_PRESET hidden
        CUDA_VISIBILITY_PRESET hidden
        VISIBILITY_INLINES_HIDDEN ON)
endfunction()
