// An ONNX Runtime that knows no version of its table but the first: what RegisterCustomOps says to it.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>

struct Base
{
    void const* (*table)(uint32_t);
    char const* (*version)();
};

static char said[1024];
static int code;

static void* createStatus(int given, char const* text)
{
    code = given;
    std::strncpy(said, text, sizeof(said) - 1);
    return said;
}

static void* oldTable[102]{reinterpret_cast<void*>(&createStatus)};

int main(int, char** arguments)
{
    void* const library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr)
    {
        std::puts(dlerror());
        return 1;
    }
    auto* const add = reinterpret_cast<void* (*)(void*, Base const*)>(dlsym(library, "RegisterCustomOps"));
    Base const old{
        [](uint32_t version) -> void const* { return version <= 17 ? oldTable : nullptr; }, [] { return "1.17.3"; }};
    bool const refused = add(nullptr, &old) == said;
    std::printf("%d %d %s\n", refused, code, said);
    Base const none{[](uint32_t) -> void const* { return nullptr; }, [] { return "0.0"; }};
    std::printf("%d\n", add(nullptr, &none) == nullptr);
    return 0;
}
