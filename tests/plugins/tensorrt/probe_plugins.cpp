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

std::unique_ptr<IPluginV3> create(IPluginCreatorV3One& creator, std::vector<PluginField> const& fields)
{
    PluginFieldCollection const collection{static_cast<int32_t>(fields.size()), fields.data()};
    return std::unique_ptr<IPluginV3>{creator.createPlugin("probe", &collection, TensorRTPhase::kBUILD)};
}

std::unique_ptr<IPluginV3> create(IPluginCreatorV3One& creator, Attributes const& attributes)
{
    std::vector<int32_t> narrow(attributes.values.begin(), attributes.values.end());
    float const epsilon = 1e-5F; // of those that normalise; the others take no notice
    std::vector<PluginField> fields{{"epsilon", &epsilon, PluginFieldType::kFLOAT32, 1}};
    for (size_t i = 0; i < attributes.names.size(); ++i)
    {
        void const* const data =
            attributes.type == PluginFieldType::kINT32 ? static_cast<void const*>(&narrow[i]) : &attributes.values[i];
        fields.emplace_back(attributes.names[i], data, attributes.type, 1);
    }
    return create(creator, fields);
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
    int32_t const outputs = build.getNbOutputs();
    int32_t const last = inputs + outputs - 1;
    std::vector<std::pair<DataType, char>> const types{{DataType::kFLOAT, 'f'}, {DataType::kHALF, 'h'},
        {DataType::kBF16, 'b'}, {DataType::kINT32, 'i'}, {DataType::kINT64, 'l'}, {DataType::kINT8, 'c'}};
    std::string found;
    std::vector<size_t> choice(static_cast<size_t>(last) + 1);
    bool others = false;
    for (bool more = true; more;)
    {
        std::vector<DynamicPluginTensorDesc> descriptions;
        for (size_t type : choice)
        {
            descriptions.push_back(tensor(types[type].first, {1, 14, 14, 8}));
        }
        bool good = true;
        for (int32_t i = 0; i <= last; ++i)
        {
            good = good && build.supportsFormatCombination(i, descriptions.data(), inputs, outputs);
        }
        for (int32_t i = 0; i <= last; ++i)
        {
            descriptions[static_cast<size_t>(i)].desc.format = TensorFormat::kHWC8;
            others = others || build.supportsFormatCombination(i, descriptions.data(), inputs, outputs);
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
    DynamicPluginTensorDesc const outputs[2]{};
    int32_t const status =
        build.configurePlugin(inputs.data(), static_cast<int32_t>(inputs.size()), outputs, build.getNbOutputs());
    std::printf("shapes %s\n", status == 0 ? "taken" : "refused");
}

void printIdentity(IPluginCreatorV3One& creator)
{
    std::printf("creator %s version %s namespace '%s'\n", creator.getPluginName(), creator.getPluginVersion(),
        creator.getPluginNamespace());
    PluginFieldCollection const& known = *creator.getFieldNames();
    for (int32_t i = 0; i < known.nbFields; ++i)
    {
        std::printf("attribute %s\n", known.fields[i].name);
    }
}

//! What a plugin's copy serialises, and whether a plugin comes of it again.
void printSerialised(IPluginCreatorV3One& creator, IPluginV3& plugin)
{
    auto* const runtime =
        static_cast<IPluginV3OneRuntime*>(plugin.getCapabilityInterface(PluginCapabilityType::kRUNTIME));
    std::unique_ptr<IPluginV3> const attached{runtime->attachToContext(nullptr)};
    auto* const copy =
        static_cast<IPluginV3OneRuntime*>(attached->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
    PluginFieldCollection const& fields = *copy->getFieldsToSerialize();
    std::unique_ptr<IPluginV3> const again{creator.createPlugin("again", &fields, TensorRTPhase::kRUNTIME)};
    std::printf("serialised");
    for (int32_t i = 0; i < fields.nbFields; ++i)
    {
        PluginField const& field = fields.fields[i];
        std::printf(" %s=", field.name);
        for (int32_t j = 0; j < field.length; ++j)
        {
            char const* const between = j == 0 ? "" : ",";
            if (field.type == PluginFieldType::kFLOAT32)
            {
                std::printf("%s%g", between, static_cast<double>(static_cast<float const*>(field.data)[j]));
            }
            else
            {
                std::printf("%s%d", between, static_cast<int32_t const*>(field.data)[j]);
            }
        }
    }
    std::printf(" read back %s\n", again ? "taken" : "refused");
}

//! Identity and formats of a plugin. \return its side for the build.
IPluginV3OneBuild& printPlugin(IPluginV3& plugin, int32_t inputs)
{
    auto* const core = static_cast<IPluginV3OneCore*>(plugin.getCapabilityInterface(PluginCapabilityType::kCORE));
    auto* const build = static_cast<IPluginV3OneBuild*>(plugin.getCapabilityInterface(PluginCapabilityType::kBUILD));
    std::printf(
        "plugin %s version %s outputs %d\n", core->getPluginName(), core->getPluginVersion(), build->getNbOutputs());
    printFormats(*build, inputs);
    return *build;
}

void probeWindow(IPluginCreatorV3One& creator)
{
    std::vector<char const*> const names{"height", "width", "window_size", "shift"};
    printIdentity(creator);
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
    printSerialised(creator, *plugin);
    std::string const name = creator.getPluginName();
    bool const hasMapOnly = name == "WindowScore" || name == "WindowRank";
    int32_t const inputs = hasMapOnly ? 1
        : name == "WindowGather"      ? 2
        : name == "WindowScatter"     ? 3
        : name == "WindowGatherNorm"  ? 4
                                      : 5;
    IPluginV3OneBuild& build = printPlugin(*plugin, inputs);
    std::vector<int64_t> const map{2, 14, 21, 8};
    std::vector<int64_t> const index{2, 4};
    //! (B, k, T, C) as (B, k * T, C)
    auto const rows = [](std::vector<int64_t> const& windows)
    {
        int64_t const count = windows[1] < 0 ? -1 : windows[1] * windows[2];
        return std::vector<int64_t>{windows[0], count, windows[3]};
    };
    auto const with =
        [&](std::vector<int64_t> const& x, std::vector<int64_t> const& ids, std::vector<int64_t> const& windows)
    {
        switch (inputs)
        {
        case 1: return printShapes(build, {x});
        case 2: return printShapes(build, {x, ids});
        case 3: return printShapes(build, {x, windows, ids});
        case 4: return printShapes(build, {x, ids, {x.back()}, {x.back()}});
        default: return printShapes(build, {x, rows(windows), rows(windows), {x.back()}, ids});
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
    if (inputs == 3 || inputs == 5)
    {
        with(map, index, {2, 4, 36, 8});
        with(map, index, {2, 3, 49, 8});
    }
    if (inputs == 4)
    {
        printShapes(build, {map, index, {9}, {8}});
        printShapes(build, {map, index, {8}, {2, 8}});
    }
    if (inputs == 5)
    {
        printShapes(build, {map, {2, 196, 8}, {2, 195, 8}, {8}, index});
        printShapes(build, {map, {2, 196, 8}, {2, 196, 8}, {1}, index});
    }
    if (name == "WindowRank")
    {
        auto const large = create(creator, {names, {540, 960, 7, 3}});
        auto& ranks = *static_cast<IPluginV3OneBuild*>(large->getCapabilityInterface(PluginCapabilityType::kBUILD));
        DynamicPluginTensorDesc x = tensor(DataType::kHALF, {-1, 540, 960, 8});
        x.max = tensor(DataType::kHALF, {3, 540, 960, 8}).desc.dims;
        std::printf("workspace %zu\n", ranks.getWorkspaceSize(&x, 1, nullptr, 1));
    }
    printShapes(build, std::vector<std::vector<int64_t>>(6, map));
}

void probeAttention(IPluginCreatorV3One& creator)
{
    printIdentity(creator);
    std::vector<char const*> const names{"heads", "window_size"};
    for (auto const& values :
        std::vector<std::vector<int64_t>>{{0, 7}, {-1, 7}, {3, 0}, {3, 5000}, {int64_t{1} << 40, 7}})
    {
        std::printf("wrong %s\n", create(creator, {names, values}) ? "taken" : "refused");
    }
    std::printf("missing %s\n", create(creator, {{"heads"}, {3}}) ? "taken" : "refused");
    auto const plugin = create(creator, {names, {3, 7}});
    printSerialised(creator, *plugin);
    IPluginV3OneBuild& build = printPlugin(*plugin, 5);
    using Shapes = std::vector<std::vector<int64_t>>;
    Shapes const good{{2, 196, 288}, {288}, {2, 4}, {576}, {9, 3, 49, 49}};
    auto const changed = [&](size_t input, std::vector<int64_t> const& shape)
    {
        Shapes shapes = good;
        shapes[input] = shape;
        printShapes(build, shapes);
    };
    printShapes(build, good);
    printShapes(build, {{-1, -1, 288}, {288}, {-1, -1}, {576}, {9, 3, 49, 49}});
    printShapes(build, {{2, 0, 288}, {288}, {2, 0}, {576}, {1, 3, 49, 49}});
    changed(0, {2, 196, 280}); // no multiple of 9
    changed(0, {2, 195, 288});
    changed(0, {2, 4, 49, 288});
    changed(1, {96});
    changed(2, {1, 4});
    changed(2, {2, 5});
    changed(3, {0});
    changed(3, {576, 1});
    changed(4, {3, 49, 49});
    changed(4, {9, 4, 49, 49});
    changed(4, {9, 3, 64, 64});
    changed(4, {0, 3, 49, 49});
}

void probeNms(IPluginCreatorV3One& creator)
{
    printIdentity(creator);
    auto const with = [&](float iou, float threshold, int64_t limit)
    {
        return create(creator,
            std::vector<PluginField>{{"iou", &iou, PluginFieldType::kFLOAT32, 1},
                {"score_threshold", &threshold, PluginFieldType::kFLOAT32, 1},
                {"limit", &limit, PluginFieldType::kINT64, 1}});
    };
    std::printf("wrong %s\n", with(1.5F, 0.0F, 10) ? "taken" : "refused");
    std::printf("wrong %s\n", with(-0.5F, 0.0F, 10) ? "taken" : "refused");
    std::printf("wrong %s\n", with(0.5F, 0.0F / 0.0F, 10) ? "taken" : "refused");
    std::printf("wrong %s\n", with(0.5F, 0.0F, -1) ? "taken" : "refused");
    int64_t const one = 1;
    std::printf("wrong %s\n", create(creator, {{"iou", &one, PluginFieldType::kINT64, 1}}) ? "taken" : "refused");
    std::printf("missing %s\n", create(creator, std::vector<PluginField>{}) ? "taken" : "refused");
    auto const plugin = with(0.5F, -0.25F, 100);
    printSerialised(creator, *plugin);
    IPluginV3OneBuild& build = printPlugin(*plugin, 2);
    printShapes(build, {{80, 1000, 4}, {80, 1000}});
    printShapes(build, {{-1, 1000, 4}, {-1, 1000}});
    printShapes(build, {{0, 1000, 4}, {0, 1000}});
    printShapes(build, {{80, 1000, 5}, {80, 1000}});
    printShapes(build, {{80, 1000, 4}, {80, 999}});
    printShapes(build, {{80, 1000, 4}, {79, 1000}});
    printShapes(build, {{1000, 4}, {1000}});
    DynamicPluginTensorDesc inputs[]{tensor(DataType::kFLOAT, {-1, 1000, 4}), tensor(DataType::kFLOAT, {-1, 1000})};
    inputs[1].max = tensor(DataType::kFLOAT, {80, 1000}).desc.dims;
    std::printf("workspace %zu\n", build.getWorkspaceSize(inputs, 2, nullptr, 1));
}

void probeRoiAlign(IPluginCreatorV3One& creator)
{
    printIdentity(creator);
    auto const with = [&](int64_t size, std::vector<int64_t> const& strides, std::vector<int64_t> const& scale)
    {
        std::vector<PluginField> fields{{"output_size", &size, PluginFieldType::kINT64, 1},
            {"strides", strides.data(), PluginFieldType::kINT64, static_cast<int32_t>(strides.size())}};
        for (int64_t const& value : scale)
        {
            fields.emplace_back("finest_scale", &value, PluginFieldType::kINT64, 1);
        }
        return create(creator, fields);
    };
    std::printf("wrong %s\n", with(0, {4, 8, 16, 32}, {56}) ? "taken" : "refused");
    std::printf("wrong %s\n", with(1025, {4, 8, 16, 32}, {56}) ? "taken" : "refused");
    std::printf("wrong %s\n", with(7, {4, 8, 16}, {56}) ? "taken" : "refused");
    std::printf("wrong %s\n", with(7, {4, 8, 0, 32}, {56}) ? "taken" : "refused");
    std::printf("wrong %s\n", with(7, {4, 8, 16, 32}, {0}) ? "taken" : "refused");
    int64_t const size = 7;
    std::printf(
        "missing %s\n", create(creator, {{"output_size", &size, PluginFieldType::kINT64, 1}}) ? "taken" : "refused");
    auto const plugin = with(7, {4, 8, 16, 32}, {});
    printSerialised(creator, *plugin);
    IPluginV3OneBuild& build = printPlugin(*plugin, 5);
    using Shapes = std::vector<std::vector<int64_t>>;
    Shapes const good{{2, 8, 20, 30}, {2, 8, 10, 15}, {2, 8, 5, 8}, {2, 8, 3, 4}, {2, 9, 4}};
    auto const changed = [&](size_t input, size_t axis, int64_t size)
    {
        Shapes shapes = good;
        shapes[input][axis] = size;
        printShapes(build, shapes);
    };
    printShapes(build, good);
    printShapes(build, {{-1, 8, 20, 30}, {-1, 8, 10, 15}, {-1, 8, 5, 8}, {-1, 8, 3, 4}, {-1, 9, 4}});
    changed(4, 1, 0);
    changed(1, 0, 3);
    changed(3, 1, 9);
    changed(2, 3, 0);
    changed(4, 0, 1);
    changed(4, 2, 5);
}

void probe(IPluginCreatorV3One& creator)
{
    std::string const name = creator.getPluginName();
    if (name == "NmsKeep")
    {
        return probeNms(creator);
    }
    if (name == "MultiLevelRoiAlign")
    {
        return probeRoiAlign(creator);
    }
    if (name == "WindowAttention")
    {
        return probeAttention(creator);
    }
    probeWindow(creator);
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
