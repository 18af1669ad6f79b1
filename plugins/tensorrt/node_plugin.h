// The TensorRT side that the plugins share: identity, attributes, life cycle, and the creator.
#pragma once

#include "kernels/element.h"
#include "tensorrt/log.h"

#include <NvInferRuntime.h>

#include <array>
#include <exception>
#include <stdexcept>
#include <string>

namespace sparsevit
{

//! One version for all nodes, equal to the ONNX domain's.
constexpr char const* kPluginVersion{"1"};
//! Other libraries may have plugins of these names. The ONNX parser looks for a plugin in the namespace that the node's
//! attribute `plugin_namespace` says, and in the empty one where a node has none.
constexpr char const* kPluginNamespace{"sparsevit"};

// IPluginV3OneBuildV2 came with TensorRT 10.3.
#if NV_TENSORRT_MAJOR > 10 || (NV_TENSORRT_MAJOR == 10 && NV_TENSORRT_MINOR >= 3)
#define SPARSEVIT_ALIASED_IO 1
using BuildCapability = nvinfer1::IPluginV3OneBuildV2;
#else
#define SPARSEVIT_ALIASED_IO 0
using BuildCapability = nvinfer1::IPluginV3OneBuild;
#endif

//! \throw std::invalid_argument for a node that asks to work in place where TensorRT knows no aliases.
template <typename Attributes>
void requireAliasedIo(Attributes const& attributes)
{
    if (attributes.inPlace() && SPARSEVIT_ALIASED_IO == 0)
    {
        throw std::invalid_argument("in_place needs a library built for TensorRT 10.3 or later");
    }
}

//! Runs `body`, whose exceptions become an error in TensorRT's log. \return whether it ended without one.
template <typename Body>
bool guarded(char const* plugin, Body&& body) noexcept
{
    try
    {
        body();
        return true;
    }
    catch (std::exception const& error)
    {
        try
        {
            logError(std::string{plugin} + ": " + error.what());
        }
        catch (...) // out of memory: nothing to write the message with
        {
        }
    }
    catch (...)
    {
    }
    return false;
}

//! The fields a node has, both for the parser (no values) and in a serialised plugin (pointing at the values).
template <typename Attributes>
class AttributeFields
{
public:
    //! \param count The first so many of the attributes.
    explicit AttributeFields(int32_t count, Attributes const* attributes = nullptr)
    {
        for (int32_t i = 0; i < count; ++i)
        {
            mFields[static_cast<size_t>(i)] = Attributes::field(i, attributes);
        }
        mCollection.nbFields = count;
        mCollection.fields = mFields.data();
    }
    AttributeFields(AttributeFields const&) = delete;
    AttributeFields& operator=(AttributeFields const&) = delete;

    nvinfer1::PluginFieldCollection const* collection() const noexcept
    {
        return &mCollection;
    }

private:
    std::array<nvinfer1::PluginField, Attributes::kCount> mFields{};
    nvinfer1::PluginFieldCollection mCollection{};
};

//! Base of the plugins. `Derived` has `static constexpr char const* kName`, `static constexpr int32_t kInputs`,
//! `static constexpr int32_t kAttributes` (how many of the attributes it has), `kOutputs` if they are not one, a
//! constructor from `NodeAttributes`, and `void checkShapes(std::array<Dims, kInputs> const&) const`, which throws for
//! inputs that do not fit.
//! `NodeAttributes` has `static constexpr int32_t kCount`, `static PluginField field(int32_t, NodeAttributes const*)`,
//! and `read` and `validate`, which throw.
template <typename Derived, typename NodeAttributes>
class NodePlugin : public nvinfer1::IPluginV3,
                   public nvinfer1::IPluginV3OneCore,
                   public BuildCapability,
                   public nvinfer1::IPluginV3OneRuntime
{
public:
    using Attributes = NodeAttributes;
    static constexpr int32_t kOutputs{1};

    nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept final
    {
        switch (type)
        {
        case nvinfer1::PluginCapabilityType::kCORE: return static_cast<nvinfer1::IPluginV3OneCore*>(this);
        case nvinfer1::PluginCapabilityType::kBUILD: return static_cast<BuildCapability*>(this);
        case nvinfer1::PluginCapabilityType::kRUNTIME: return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }

    nvinfer1::IPluginV3* clone() noexcept final
    {
        nvinfer1::IPluginV3* copy = nullptr;
        guarded(Derived::kName, [&] { copy = new Derived(mAttributes); });
        return copy;
    }

    char const* getPluginName() const noexcept final
    {
        return Derived::kName;
    }
    char const* getPluginVersion() const noexcept final
    {
        return kPluginVersion;
    }
    char const* getPluginNamespace() const noexcept final
    {
        return kPluginNamespace;
    }

    int32_t getNbOutputs() const noexcept final
    {
        return Derived::kOutputs;
    }

    int32_t configurePlugin(nvinfer1::DynamicPluginTensorDesc const* in, int32_t nbInputs,
        nvinfer1::DynamicPluginTensorDesc const*, int32_t nbOutputs) noexcept final
    {
        return checked(nbInputs, nbOutputs, [in](int32_t i) { return in[i].desc.dims; });
    }

    int32_t onShapeChange(nvinfer1::PluginTensorDesc const* in, int32_t nbInputs, nvinfer1::PluginTensorDesc const*,
        int32_t nbOutputs) noexcept final
    {
        return checked(nbInputs, nbOutputs, [in](int32_t i) { return in[i].dims; });
    }

    nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext*) noexcept final
    {
        return clone();
    }

    nvinfer1::PluginFieldCollection const* getFieldsToSerialize() noexcept final
    {
        return mFields.collection();
    }

protected:
    explicit NodePlugin(Attributes const& attributes)
        : mAttributes{attributes}
        , mFields{Derived::kAttributes, &mAttributes}
    {
        mAttributes.validate();
    }

    Attributes const& attributes() const noexcept
    {
        return mAttributes;
    }

    //! Checks, while the network is built, what is known of the inputs' shapes. \return 0, or -1 after an error.
    int32_t checkedExpressions(nvinfer1::DimsExprs const* inputs, int32_t nbInputs, int32_t nbOutputs) const noexcept
    {
        return checked(nbInputs, nbOutputs,
            [inputs](int32_t i)
            {
                nvinfer1::Dims dims{};
                dims.nbDims = inputs[i].nbDims;
                for (int32_t j = 0; j < dims.nbDims; ++j)
                {
                    dims.d[j] = inputs[i].d[j]->isConstant() ? inputs[i].d[j]->getConstantValue() : -1;
                }
                return dims;
            });
    }

    //! Whether it is a floating-point type of maps and windows.
    static bool isElement(nvinfer1::DataType type) noexcept
    {
        return type == nvinfer1::DataType::kFLOAT || type == nvinfer1::DataType::kHALF
            || type == nvinfer1::DataType::kBF16;
    }
    //! \param type One of `isElement`.
    static Element elementOf(nvinfer1::DataType type) noexcept
    {
        return type == nvinfer1::DataType::kFLOAT ? Element::kFloat
            : type == nvinfer1::DataType::kHALF   ? Element::kHalf
                                                  : Element::kBfloat16;
    }
    static bool isIndex(nvinfer1::DataType type) noexcept
    {
        return type == nvinfer1::DataType::kINT32 || type == nvinfer1::DataType::kINT64;
    }
    static int32_t bytesOf(nvinfer1::DataType type) noexcept
    {
        switch (type)
        {
        case nvinfer1::DataType::kINT64: return 8;
        case nvinfer1::DataType::kINT32:
        case nvinfer1::DataType::kFLOAT: return 4;
        default: return 2;
        }
    }

private:
    template <typename DimsOf>
    int32_t checked(int32_t nbInputs, int32_t nbOutputs, DimsOf&& dimsOf) const noexcept
    {
        bool const good = guarded(Derived::kName,
            [&]
            {
                if (nbInputs != Derived::kInputs || nbOutputs != Derived::kOutputs)
                {
                    throw std::invalid_argument("has " + std::to_string(nbInputs) + " inputs and "
                        + std::to_string(nbOutputs) + " outputs, expected " + std::to_string(Derived::kInputs) + " and "
                        + std::to_string(Derived::kOutputs) + "; export the model again");
                }
                std::array<nvinfer1::Dims, Derived::kInputs> shapes{};
                for (int32_t i = 0; i < Derived::kInputs; ++i)
                {
                    shapes[static_cast<size_t>(i)] = dimsOf(i);
                }
                static_cast<Derived const*>(this)->checkShapes(shapes);
            });
        return good ? 0 : -1;
    }

    Attributes mAttributes;
    AttributeFields<Attributes> mFields;
};

template <typename Plugin>
class NodePluginCreator final : public nvinfer1::IPluginCreatorV3One
{
public:
    //! \return nullptr, after an error in TensorRT's log, for attributes that are missing or wrong.
    nvinfer1::IPluginV3* createPlugin(
        char const* name, nvinfer1::PluginFieldCollection const* fields, nvinfer1::TensorRTPhase) noexcept override
    {
        nvinfer1::IPluginV3* plugin = nullptr;
        guarded(Plugin::kName,
            [&]
            {
                try
                {
                    if (fields == nullptr)
                    {
                        throw std::invalid_argument("created without attributes");
                    }
                    plugin = new Plugin(Plugin::Attributes::read(*fields));
                }
                catch (std::invalid_argument const& error)
                {
                    throw std::invalid_argument(
                        "node '" + std::string{name == nullptr ? "" : name} + "': " + error.what());
                }
            });
        return plugin;
    }

    nvinfer1::PluginFieldCollection const* getFieldNames() noexcept override
    {
        return mFields.collection();
    }
    char const* getPluginName() const noexcept override
    {
        return Plugin::kName;
    }
    char const* getPluginVersion() const noexcept override
    {
        return kPluginVersion;
    }
    char const* getPluginNamespace() const noexcept override
    {
        return kPluginNamespace;
    }

private:
    AttributeFields<typename Plugin::Attributes> mFields{Plugin::kAttributes};
};

} // namespace sparsevit
