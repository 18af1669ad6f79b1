// Loads the plugin library the way TensorRT does, without TensorRT, and prints what it finds, one fact a line.
// usage: probe_plugins LIBRARY
#include <NvInferRuntime.h>

#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <memory>
#include <string>
#include <vector>

using namespace nvinfer1;

namespace
{

class Log : public ILogger
{
public:
    void log(Severity severity, AsciiChar const* message) noexcept override
    {
        std::printf("log %d %s\n", static_cast<int>(severity), message);
    }
};

class Finder : public ILoggerFinder
{
public:
    ILogger* findLogger() override
    {
        return &mLog;
    }

private:
    Log mLog;
};

struct Attributes
{
    std::vector<char const*> names;
    std::vector<int64_t> values;
    PluginFieldType type{PluginFieldType::kINT64};
};

std::unique_ptr<IPluginV3> create(IPluginCreatorV3One& creator, Attributes const& attributes)
{
    std::vector<int32_t> narrow(attributes.values.begin(), attributes.values.end());
    std::vector<PluginField> fields;
    for (size_t i = 0; i < attributes.names.size(); ++i)
    {
        void const* const data =
            attributes.type == PluginFieldType::kINT32 ? static_cast<void const*>(&narrow[i]) : &attributes.values[i];
        fields.emplace_back(attributes.names[i], data, attributes.type, 1);
    }
    PluginFieldCollection const collection{static_cast<int32_t>(fields.size()), fields.data()};
    return std::unique_ptr<IPluginV3>{creator.createPlugin("probe", &collection, TensorRTPhase::kBUILD)};
}

DynamicPluginTensorDesc tensor(
    DataType type, std::vector<int64_t> const& dims, TensorFormat format = TensorFormat::kLINEAR)
{
    DynamicPluginTensorDesc result{};
    result.desc.type = type;
    result.desc.format = format;
    result.desc.dims.nbDims = static_cast<int32_t>(dims.size());
    std::memcpy(result.desc.dims.d, dims.data(), dims.size() * sizeof(int64_t));
    return result;
}

//! Every combination of types that the plugin takes, as letters: f float, h half, b bfloat16, i int32, l int64.
void printFormats(IPluginV3OneBuild& build, int32_t inputs)
{
    std::vector<std::pair<DataType, char>> const types{{DataType::kFLOAT, 'f'}, {DataType::kHALF, 'h'},
        {DataType::kBF16, 'b'}, {DataType::kINT32, 'i'}, {DataType::kINT64, 'l'}, {DataType::kINT8, 'c'}};
    std::string found;
    std::vector<size_t> choice(static_cast<size_t>(inputs) + 1);
    bool others = false;
    for (bool more = true; more;)
    {
        std::vector<DynamicPluginTensorDesc> descriptions;
        for (size_t type : choice)
        {
            descriptions.push_back(tensor(types[type].first, {1, 14, 14, 8}));
        }
        bool good = true;
        for (int32_t i = 0; i <= inputs; ++i)
        {
            good = good && build.supportsFormatCombination(i, descriptions.data(), inputs, 1);
        }
        for (int32_t i = 0; i <= inputs; ++i)
        {
            descriptions[static_cast<size_t>(i)].desc.format = TensorFormat::kHWC8;
            others = others || build.supportsFormatCombination(i, descriptions.data(), inputs, 1);
            descriptions[static_cast<size_t>(i)].desc.format = TensorFormat::kLINEAR;
        }
        if (good)
        {
            found += ' ';
            for (size_t type : choice)
            {
                found += types[type].second;
            }
        }
        size_t digit = 0;
        while (digit < choice.size() && ++choice[digit] == types.size())
        {
            choice[digit++] = 0;
        }
        more = digit < choice.size();
    }
    std::printf("formats%s%s\n", found.c_str(), others ? " and others than linear" : "");
}

void printShapes(IPluginV3OneBuild& build, std::vector<std::vector<int64_t>> const& shapes)
{
    std::vector<DynamicPluginTensorDesc> inputs;
    for (auto const& shape : shapes)
    {
        inputs.push_back(tensor(DataType::kFLOAT, shape));
    }
    DynamicPluginTensorDesc const output{};
    int32_t const status = build.configurePlugin(inputs.data(), static_cast<int32_t>(inputs.size()), &output, 1);
    std::printf("shapes %s\n", status == 0 ? "taken" : "refused");
}

void probe(IPluginCreatorV3One& creator)
{
    std::vector<char const*> const names{"height", "width", "window_size", "shift"};
    std::printf("creator %s version %s namespace '%s'\n", creator.getPluginName(), creator.getPluginVersion(),
        creator.getPluginNamespace());
    PluginFieldCollection const& known = *creator.getFieldNames();
    for (int32_t i = 0; i < known.nbFields; ++i)
    {
        std::printf("attribute %s\n", known.fields[i].name);
    }
    for (PluginFieldType const type : {PluginFieldType::kINT32, PluginFieldType::kINT64, PluginFieldType::kFLOAT32})
    {
        std::printf("type %d %s\n", static_cast<int>(type),
            create(creator, {names, {14, 21, 7, 3}, type}) ? "taken" : "refused");
    }
    std::vector<std::vector<int64_t>> const wrong{{0, 21, 7, 3}, {14, -1, 7, 3}, {14, 21, 0, 0}, {14, 21, 7, 2},
        {14, 21, 7, -3}, {1 << 20, 1 << 20, 7, 0}, {int64_t{1} << 40, 21, 7, 3}, {1, 1, 50000, 0}};
    for (auto const& values : wrong)
    {
        std::printf("wrong %s\n", create(creator, {names, values}) ? "taken" : "refused");
    }
    std::printf("missing %s\n", create(creator, {{"height", "width", "shift"}, {14, 21, 3}}) ? "taken" : "refused");
    std::printf(
        "none %s\n", creator.createPlugin(nullptr, nullptr, TensorRTPhase::kBUILD) == nullptr ? "refused" : "taken");

    auto const plugin = create(creator, {names, {14, 21, 7, 3}});
    auto* const runtime =
        static_cast<IPluginV3OneRuntime*>(plugin->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
    std::unique_ptr<IPluginV3> const attached{runtime->attachToContext(nullptr)};
    auto* const copy =
        static_cast<IPluginV3OneRuntime*>(attached->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
    PluginFieldCollection const& fields = *copy->getFieldsToSerialize();
    std::unique_ptr<IPluginV3> const again{creator.createPlugin("again", &fields, TensorRTPhase::kRUNTIME)};
    std::printf("serialised");
    for (int32_t i = 0; i < fields.nbFields; ++i)
    {
        std::printf(" %s=%d", fields.fields[i].name, *static_cast<int32_t const*>(fields.fields[i].data));
    }
    std::printf(" read back %s\n", again ? "taken" : "refused");

    auto* const core = static_cast<IPluginV3OneCore*>(plugin->getCapabilityInterface(PluginCapabilityType::kCORE));
    auto* const build = static_cast<IPluginV3OneBuild*>(plugin->getCapabilityInterface(PluginCapabilityType::kBUILD));
    std::string const name = core->getPluginName();
    std::printf("plugin %s version %s outputs %d\n", name.c_str(), core->getPluginVersion(), build->getNbOutputs());
    int32_t const inputs = name == "WindowScore" ? 1 : name == "WindowGather" ? 2 : 3;
    printFormats(*build, inputs);
    std::vector<int64_t> const map{2, 14, 21, 8};
    std::vector<int64_t> const index{2, 4};
    auto const with =
        [&](std::vector<int64_t> const& x, std::vector<int64_t> const& ids, std::vector<int64_t> const& windows)
    {
        switch (inputs)
        {
        case 1: return printShapes(*build, {x});
        case 2: return printShapes(*build, {x, ids});
        default: return printShapes(*build, {x, windows, ids});
        }
    };
    with(map, index, {2, 4, 49, 8});
    with({-1, 14, 21, -1}, {-1, -1}, {-1, -1, 49, -1});
    with({2, 14, 22, 8}, index, {2, 4, 49, 8});
    with({14, 21, 8}, index, {2, 4, 49, 8});
    if (inputs > 1)
    {
        with(map, {2, 0}, {2, 0, 49, 8});
        with(map, {2, 7}, {2, 7, 49, 8});
        with(map, {3, 4}, {2, 4, 49, 8});
    }
    if (inputs > 2)
    {
        with(map, index, {2, 4, 36, 8});
        with(map, index, {2, 3, 49, 8});
    }
    printShapes(*build, {map, index, map, map});
}

} // namespace

int main(int argc, char** argv)
{
    void* const library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : nullptr;
    if (library == nullptr)
    {
        std::printf("not loaded: %s\n", argc == 2 ? dlerror() : "usage: probe_plugins LIBRARY");
        return 1;
    }
    using Creators = IPluginCreatorInterface* const* (*)(int32_t&);
    auto const getCreators = reinterpret_cast<Creators>(dlsym(library, "getCreators"));
    auto const getPluginCreators = reinterpret_cast<Creators>(dlsym(library, "getPluginCreators"));
    auto const setLoggerFinder = reinterpret_cast<void (*)(ILoggerFinder*)>(dlsym(library, "setLoggerFinder"));
    if (getCreators == nullptr || getPluginCreators == nullptr || setLoggerFinder == nullptr)
    {
        std::printf("an entry point is missing\n");
        return 1;
    }
    static Finder finder;
    setLoggerFinder(&finder);
    int32_t count = 0;
    int32_t sameCount = 0;
    IPluginCreatorInterface* const* const creators = getCreators(count);
    std::printf("creators %d, by the old name %s\n", count,
        getPluginCreators(sameCount) == creators && sameCount == count ? "the same" : "others");
    for (int32_t i = 0; i < count; ++i)
    {
        probe(*static_cast<IPluginCreatorV3One*>(creators[i]));
    }
    return 0;
}
