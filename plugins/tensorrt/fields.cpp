#include "tensorrt/fields.h"

#include <cstring>
#include <limits>

namespace sparsevit
{
namespace fields
{

using nvinfer1::PluginField;
using nvinfer1::PluginFieldType;

std::string str(nvinfer1::Dims const& dims)
{
    std::string text = "(";
    for (int32_t i = 0; i < dims.nbDims; ++i)
    {
        text += (i == 0 ? "" : ", ") + std::to_string(dims.d[i]);
    }
    return text + ")";
}

bool agree(int64_t first, int64_t second)
{
    return first < 0 || second < 0 || first == second;
}

PluginField const* find(nvinfer1::PluginFieldCollection const& fields, char const* name)
{
    for (int32_t i = 0; i < fields.nbFields; ++i)
    {
        if (std::strcmp(fields.fields[i].name, name) == 0)
        {
            return &fields.fields[i];
        }
    }
    return nullptr;
}

PluginField const& required(nvinfer1::PluginFieldCollection const& fields, char const* name)
{
    PluginField const* const field = find(fields, name);
    require(
        field != nullptr, [&] { return std::string{"attribute '"} + name + "' is missing; export the model again"; });
    return *field;
}

int32_t integer(PluginField const& field)
{
    int32_t value = 0;
    integers(field, 1, &value);
    return value;
}

void integers(PluginField const& field, int32_t count, int32_t* values)
{
    std::string const name = field.name;
    bool const isWide = field.type == PluginFieldType::kINT64;
    require((isWide || field.type == PluginFieldType::kINT32) && field.length == count && field.data != nullptr,
        [&]
        {
            return "attribute '" + name + "' is not "
                + (count == 1 ? "one integer" : std::to_string(count) + " integers") + "; export the model again";
        });
    for (int32_t i = 0; i < count; ++i)
    {
        int64_t value = 0;
        int32_t narrow = 0;
        if (isWide)
        {
            std::memcpy(&value, static_cast<int64_t const*>(field.data) + i, sizeof(value));
        }
        else
        {
            std::memcpy(&narrow, static_cast<int32_t const*>(field.data) + i, sizeof(narrow));
            value = narrow;
        }
        bool const fits = value >= std::numeric_limits<int32_t>::min() && value <= std::numeric_limits<int32_t>::max();
        require(fits,
            [&]
            {
                return "attribute '" + name + "' is " + std::to_string(value)
                    + ", beyond 32 bits; export the model again";
            });
        values[i] = static_cast<int32_t>(value);
    }
}

float number(PluginField const& field)
{
    require(field.type == PluginFieldType::kFLOAT32 && field.length == 1 && field.data != nullptr,
        [&] { return std::string{"attribute '"} + field.name + "' is not one float; export the model again"; });
    float value = 0.0F;
    std::memcpy(&value, field.data, sizeof(value));
    return value;
}

} // namespace fields
} // namespace sparsevit
