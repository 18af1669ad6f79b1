// Sentences without memory of their own: an op may neither throw nor fail for want of room for its error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>

namespace sparsevit
{
namespace ort
{

//! A text of at most kRoom - 1 bytes; what goes beyond is cut off.
class Text
{
public:
    Text& operator<<(char const* text)
    {
        return put("%s", text);
    }
    Text& operator<<(int64_t number)
    {
        return put("%lld", static_cast<long long>(number));
    }
    Text& operator<<(double number)
    {
        return put("%g", number);
    }

    char const* bytes() const
    {
        return mBytes;
    }
    bool isEmpty() const
    {
        return mLength == 0;
    }

private:
    static constexpr size_t kRoom{640};

    template <typename Value>
    Text& put(char const* format, Value value)
    {
        int const written = std::snprintf(mBytes + mLength, kRoom - mLength, format, value);
        mLength += written < 0 ? 0 : static_cast<size_t>(written);
        mLength = mLength < kRoom ? mLength : kRoom - 1;
        return *this;
    }

    char mBytes[kRoom]{};
    size_t mLength{0};
};

} // namespace ort
} // namespace sparsevit
