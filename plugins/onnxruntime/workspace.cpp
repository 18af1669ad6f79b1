#include "onnxruntime/workspace.h"

#include <new>

namespace sparsevit
{
namespace ort
{

Workspaces::~Workspaces()
{
    while (mBlocks != nullptr)
    {
        Block* const block = mBlocks;
        mBlocks = block->next;
        mApi.succeeded(mApi.call<kAllocatorFree>(mAllocator, block->data));
        delete block;
    }
    if (mAllocator != nullptr)
    {
        mApi.release<kReleaseAllocator>(mAllocator);
    }
}

Workspaces::Block* Workspaces::take(KernelContext const* context, Value const* tensor, size_t bytes, void* stream)
{
    std::lock_guard<std::mutex> const lock{mMutex};
    for (Block* block = mBlocks; block != nullptr; block = block->next)
    {
        if (!block->isTaken && block->stream == stream && block->bytes >= bytes)
        {
            block->isTaken = true;
            return block;
        }
    }
    if (!findAllocator(context, tensor))
    {
        return nullptr;
    }
    // One that is too small stays, as a launch may still work in it; growing by half keeps their sum below three times
    // the largest.
    size_t grown = bytes;
    for (Block* block = mBlocks; block != nullptr; block = block->next)
    {
        size_t const more = block->bytes + block->bytes / 2;
        grown = block->stream == stream && !block->isTaken && more > grown ? more : grown;
    }
    Block* const block = new (std::nothrow) Block{};
    if (block == nullptr)
    {
        return nullptr;
    }
    block->data = allocate(grown);
    if (block->data == nullptr)
    {
        delete block;
        return nullptr;
    }
    block->bytes = grown;
    block->stream = stream;
    block->isTaken = true;
    block->next = mBlocks;
    mBlocks = block;
    return block;
}

void Workspaces::put(Block* block)
{
    std::lock_guard<std::mutex> const lock{mMutex};
    block->isTaken = false;
}

bool Workspaces::findAllocator(KernelContext const* context, Value const* tensor)
{
    if (mAllocator != nullptr)
    {
        return true;
    }
    MemoryInfo const* where = nullptr;
    return mApi.succeeded(mApi.call<kGetTensorMemoryInfo>(tensor, &where))
        && mApi.succeeded(mApi.call<kKernelContext_GetAllocator>(context, where, &mAllocator))
        && mAllocator != nullptr;
}

void* Workspaces::allocate(size_t bytes)
{
    void* data = nullptr;
    return mApi.succeeded(mApi.call<kAllocatorAlloc>(mAllocator, bytes, &data)) ? data : nullptr;
}

} // namespace ort
} // namespace sparsevit
