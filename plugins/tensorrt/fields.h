// What the nodes' attributes are read and checked with. Everything here throws std::invalid_argument with what was
// seen.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace sparsevit
{
namespace fields
{

//! A shape as text, -1 for what is not known yet.
std::string str(nvinfer1::Dims const& dims);

//! Whether two sizes can be equal: one that is not known yet is -1.
bool agree(int64_t first, int64_t second);

//! \throw std::invalid_argument with the text that `message` returns unless `holds`. Shapes are checked in every frame:
//! texts are made of them when they are wrong.
template <typename Message>
void require(bool holds, Message&& message)
{
    if (!holds)
    {
        throw std::invalid_argument(message());
    }
}

//! \return the field of that name, or nullptr.
nvinfer1::PluginField const* find(nvinfer1::PluginFieldCollection const& fields, char const* name);

//! \return the field of that name. \throw std::invalid_argument where there is none.
nvinfer1::PluginField const& required(nvinfer1::PluginFieldCollection const& fields, char const* name);

//! \return the field's one 32-bit integer.
int32_t integer(nvinfer1::PluginField const& field);

//! Reads a list of `count` 32-bit integers.
void integers(nvinfer1::PluginField const& field, int32_t count, int32_t* values);

//! \return the field's one float.
float number(nvinfer1::PluginField const& field);

} // namespace fields
} // namespace sparsevit
