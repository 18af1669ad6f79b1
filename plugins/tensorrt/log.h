// TensorRT's log, reached through the finder that TensorRT hands to the library (`setLoggerFinder`).
#pragma once

#include <NvInferRuntime.h>

#include <string>

namespace sparsevit
{

void useLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept;

//! Logs an error; on stderr if TensorRT has given no logger.
void logError(std::string const& message) noexcept;

} // namespace sparsevit
