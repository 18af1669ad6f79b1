# CUDA's compiler where PATH does not name it: in $CUDA_HOME, or where CUDA installs itself. JetPack leaves it there.
if(NOT DEFINED CMAKE_CUDA_COMPILER AND "$ENV{CUDACXX}" STREQUAL "")
    find_program(sparsevit_nvcc nvcc PATHS ENV CUDA_HOME ENV CUDA_PATH /usr/local/cuda PATH_SUFFIXES bin)
    mark_as_advanced(sparsevit_nvcc)
    if(sparsevit_nvcc)
        set(CMAKE_CUDA_COMPILER "${sparsevit_nvcc}" CACHE FILEPATH "CUDA compiler")
    endif()
endif()
