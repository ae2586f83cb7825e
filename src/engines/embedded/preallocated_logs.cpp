#include "engines/embedded/preallocated_logs.hpp"

#include <cstdint>
#include <utility>

namespace dislock::embedded {
namespace {

using rocksdb::FSRandomRWFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

// One commit in some dozens pays for this much more to write: a fraction of a millisecond.
constexpr std::uint64_t piece = 256u << 10u;

class log_file final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  log_file(std::unique_ptr<rocksdb::FSWritableFile>&& log, std::unique_ptr<FSRandomRWFile>&& ahead)
      : FSWritableFileOwnerWrapper(std::move(log)), ahead_(std::move(ahead)) {}

  // RocksDB calls it before it writes. It cannot fail: if there is no room, the write will say so.
  void PrepareWrite(std::size_t offset, std::size_t length, const IOOptions& options,
                    IODebugContext* debug) override {
    const std::uint64_t wanted = offset + length;
    if (wanted <= filled_) return;
    static const std::string zeros(piece, '\0');
    if (filled_ < offset) filled_ = offset;
    while (filled_ < wanted) {
      if (!ahead_->Write(filled_, zeros, options, debug).ok()) return;
      filled_ += piece;
    }
  }

  IOStatus Close(const IOOptions& options, IODebugContext* debug) override {
    const auto length = GetFileSize(options, debug);
    auto closed = FSWritableFileOwnerWrapper::Truncate(length, options, debug);
    if (auto status = ahead_->Close(options, debug); closed.ok()) closed = std::move(status);
    if (auto status = FSWritableFileOwnerWrapper::Close(options, debug); closed.ok())
      closed = std::move(status);
    return closed;
  }

 private:
  std::unique_ptr<FSRandomRWFile> ahead_;
  std::uint64_t filled_ = 0;
};

}  // namespace

IOStatus preallocated_logs::NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                            std::unique_ptr<rocksdb::FSWritableFile>* result,
                                            IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSWritableFile> log;
  auto status = FileSystemWrapper::NewWritableFile(name, options, &log, debug);
  if (!status.ok() || !name.ends_with(".log")) {
    *result = std::move(log);
    return status;
  }
  std::unique_ptr<FSRandomRWFile> ahead;
  status = NewRandomRWFile(name, options, &ahead, debug);
  if (status.ok()) *result = std::make_unique<log_file>(std::move(log), std::move(ahead));
  return status;
}

}  // namespace dislock::embedded
