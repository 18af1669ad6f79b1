#include "tensorrt/log.h"

#include <atomic>
#include <cstdio>

namespace sparsevit
{
namespace
{
std::atomic<nvinfer1::ILoggerFinder*> gFinder{nullptr};
} // namespace

void useLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept
{
    gFinder = finder;
}

void logError(std::string const& message) noexcept
{
    nvinfer1::ILoggerFinder* const finder = gFinder;
    nvinfer1::ILogger* logger = nullptr;
    try
    {
        logger = finder == nullptr ? nullptr : finder->findLogger();
    }
    catch (...) // findLogger may throw; the message still has to come out
    {
        logger = nullptr;
    }
    if (logger != nullptr)
    {
        logger->log(nvinfer1::ILogger::Severity::kERROR, message.c_str());
    }
    else
    {
        std::fprintf(stderr, "%s\n", message.c_str());
    }
}

} // namespace sparsevit
