#include "onnxruntime/cublaslt.h"

#include <dlfcn.h>
#include <initializer_list>

namespace sparsevit
{
namespace ort
{
namespace lt
{
namespace
{

constexpr char const* kNames[]{"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11"};

void* open()
{
    for (int32_t const mode : {RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD, RTLD_NOW | RTLD_LOCAL})
    {
        for (char const* const name : kNames)
        {
            if (void* const found = dlopen(name, mode))
            {
                return found;
            }
        }
    }
    return nullptr;
}

template <typename Function>
bool bind(void* library, char const* name, Function*& function)
{
    function = reinterpret_cast<Function*>(dlsym(library, name));
    return function != nullptr;
}

bool bindAll(void* library, Library& to)
{
    return bind(library, "cublasLtCreate", to.create)
        && bind(library, "cublasLtMatmulDescCreate", to.createDescription)
        && bind(library, "cublasLtMatmulDescSetAttribute", to.setDescription)
        && bind(library, "cublasLtMatmulDescDestroy", to.destroyDescription)
        && bind(library, "cublasLtMatrixLayoutCreate", to.createLayout)
        && bind(library, "cublasLtMatrixLayoutDestroy", to.destroyLayout)
        && bind(library, "cublasLtMatmulPreferenceCreate", to.createPreference)
        && bind(library, "cublasLtMatmulPreferenceSetAttribute", to.setPreference)
        && bind(library, "cublasLtMatmulPreferenceDestroy", to.destroyPreference)
        && bind(library, "cublasLtMatmulAlgoGetHeuristic", to.choose)
        && bind(library, "cublasLtMatmul", to.multiply);
}

} // namespace

Library const* find()
{
    struct Found
    {
        Found()
        {
            void* const opened = open();
            isWhole = opened != nullptr && bindAll(opened, library);
        }

        Library library{};
        bool isWhole{false};
    };
    static Found const found;
    return found.isWhole ? &found.library : nullptr;
}

} // namespace lt
} // namespace ort
} // namespace sparsevit
