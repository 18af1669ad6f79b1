// Memory that a kernel needs for a while.
#pragma once

#include "onnxruntime/api.h"

#include <cstddef>
#include <mutex>

namespace sparsevit
{
namespace ort
{

//! The workspaces of one node, from ONNX Runtime's allocator. Each belongs to a stream and is kept until the node goes:
//! what is queued on one stream runs in order, so that the next launch there may have it at once, and no other stream
//! is given memory that a launch still works in. Threads: safe.
class Workspaces
{
public:
    explicit Workspaces(Api const& api)
        : mApi{api}
    {
    }
    ~Workspaces();
    Workspaces(Workspaces const&) = delete;
    Workspaces& operator=(Workspaces const&) = delete;

    struct Block
    {
        void* data{nullptr};
        size_t bytes{0};
        void* stream{nullptr};
        bool isTaken{false};
        Block* next{nullptr};
    };

    //! Takes one of at least so many bytes for launches on `stream`, aligned to 16.
    //! \param tensor A tensor where the workspace shall be.
    //! \return null where there is no memory.
    Block* take(KernelContext const* context, Value const* tensor, size_t bytes, void* stream);
    //! Gives it back once the launches are queued.
    void put(Block* block);

private:
    bool findAllocator(KernelContext const* context, Value const* tensor);
    void* allocate(size_t bytes);

    Api mApi;
    std::mutex mMutex;
    Allocator* mAllocator{nullptr};
    Block* mBlocks{nullptr};
};

} // namespace ort
} // namespace sparsevit
