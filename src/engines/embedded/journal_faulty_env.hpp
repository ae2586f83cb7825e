// A disk for tests: it can be full, fail or hold back a sync, and forget at power-off what was not synced.
#pragma once

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace dislock::embedded {

/// Passes everything to the real file system and remembers, per file, how much of it was synced, and which
/// names are not durable yet because their directory was not synced since.
///
/// What it does not model: a sync that lies, and reordered renames.
/// Thread safety: all members from any thread.
class faulty_disk : public rocksdb::FileSystemWrapper {
 public:
  faulty_disk() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  [[nodiscard]] const char* Name() const override { return "faulty_disk"; }

  /// The n-th append to a log from now on (0: the next) writes half of its bytes and reports a full disk.
  void fill_up_at_log_append(int n) { set(append_fails_in_, n); }

  /// The n-th sync of a log from now on fails; those after it succeed, as they do on Linux.
  void fail_log_sync(int n) { set(sync_fails_in_, n); }

  /// Log syncs wait until `let_syncs_pass()`.
  void hold_syncs() {
    const std::lock_guard guard(mutex_);
    held_ = true;
  }
  void let_syncs_pass() {
    const std::lock_guard guard(mutex_);
    held_ = false;
    changed_.notify_all();
  }
  void wait_until_a_sync_is_held() {
    std::unique_lock guard(mutex_);
    changed_.wait(guard, [&] { return waiting_ > 0; });
  }
  /// Waits until `n` log syncs have been asked for since the start.
  void wait_for_log_syncs(int n) {
    std::unique_lock guard(mutex_);
    changed_.wait(guard, [&] { return syncs_ >= n; });
  }
  [[nodiscard]] int log_syncs() {
    const std::lock_guard guard(mutex_);
    return syncs_;
  }

  /// From now on nothing reaches the disk. Destroy the journal, then `forget_unsynced()`.
  void power_off() {
    const std::lock_guard guard(mutex_);
    off_ = true;
  }

  /// Cuts every file to what was synced, plus `keep` bytes of what was not (a page that made it), and removes
  /// files whose names were not durable.
  void forget_unsynced(std::uint64_t keep = 0) {
    const std::lock_guard guard(mutex_);
    for (const auto& name : new_names_) target()->DeleteFile(name, {}, nullptr).PermitUncheckedError();
    for (const auto& [name, size] : sizes_) {
      std::error_code gone;  // a name that was not durable; the file system of RocksDB has no truncate
      if (const auto now = std::filesystem::file_size(name, gone); !gone && now > size.synced + keep) {
        std::filesystem::resize_file(name, size.synced + keep);
      }
    }
    sizes_.clear();
    new_names_.clear();
    off_ = false;
  }

  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override {
    if (auto status = powered(); !status.ok()) return status;
    std::unique_ptr<rocksdb::FSWritableFile> real;
    auto status = FileSystemWrapper::NewWritableFile(name, options, &real, debug);
    if (!status.ok()) return status;
    {
      const std::lock_guard guard(mutex_);
      sizes_[name] = {};
      new_names_.insert(name);
    }
    *result = std::make_unique<file>(*this, name, std::move(real));
    return status;
  }

  rocksdb::IOStatus NewDirectory(const std::string& name, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* result,
                                 rocksdb::IODebugContext* debug) override {
    std::unique_ptr<rocksdb::FSDirectory> real;
    auto status = FileSystemWrapper::NewDirectory(name, options, &real, debug);
    if (status.ok()) *result = std::make_unique<directory>(*this, name, std::move(real));
    return status;
  }

  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override {
    if (auto status = powered(); !status.ok()) return status;
    const std::lock_guard guard(mutex_);
    if (const auto known = sizes_.find(from); known != sizes_.end()) {
      sizes_[to] = known->second;
      sizes_.erase(from);
    }
    new_names_.erase(from);
    return FileSystemWrapper::RenameFile(from, to, options, debug);
  }

  rocksdb::IOStatus DeleteFile(const std::string& name, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override {
    if (auto status = powered(); !status.ok()) return status;
    {
      const std::lock_guard guard(mutex_);
      sizes_.erase(name);
      new_names_.erase(name);
    }
    return FileSystemWrapper::DeleteFile(name, options, debug);
  }

 private:
  struct size {
    std::uint64_t written = 0;
    std::uint64_t synced = 0;
  };

  class file : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    file(faulty_disk& disk, std::string name, std::unique_ptr<rocksdb::FSWritableFile>&& real)
        : FSWritableFileOwnerWrapper(std::move(real)), disk_(disk), name_(std::move(name)) {}

    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override {
      const auto verdict = disk_.before_append(name_);
      const rocksdb::Slice part(data.data(), verdict.ok() ? data.size() : data.size() / 2);
      if (verdict.ok() || verdict.IsNoSpace()) {
        auto status = FSWritableFileOwnerWrapper::Append(part, options, debug);
        if (!status.ok()) return status;
        disk_.wrote(name_, part.size());
      }
      return verdict;
    }
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             const rocksdb::DataVerificationInfo&, rocksdb::IODebugContext* debug) override {
      return Append(data, options, debug);
    }
    rocksdb::IOStatus Sync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override {
      const auto upto = disk_.written(name_);
      if (auto status = disk_.before_sync(name_); !status.ok()) return status;
      auto status = FSWritableFileOwnerWrapper::Sync(options, debug);
      if (status.ok()) disk_.synced(name_, upto);
      return status;
    }
    rocksdb::IOStatus Fsync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override {
      return Sync(options, debug);
    }

   private:
    faulty_disk& disk_;
    std::string name_;
  };

  class directory : public rocksdb::FSDirectoryWrapper {
   public:
    directory(faulty_disk& disk, std::string name, std::unique_ptr<rocksdb::FSDirectory>&& real)
        : FSDirectoryWrapper(std::move(real)), disk_(disk), name_(std::move(name)) {}

    rocksdb::IOStatus Fsync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override {
      if (auto status = disk_.powered(); !status.ok()) return status;
      disk_.synced_names_in(name_);
      return FSDirectoryWrapper::Fsync(options, debug);
    }
    rocksdb::IOStatus FsyncWithDirOptions(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug,
                                          const rocksdb::DirFsyncOptions&) override {
      return Fsync(options, debug);
    }

   private:
    faulty_disk& disk_;
    std::string name_;
  };

  static bool is_log(std::string_view name) { return name.ends_with(".log"); }

  void set(int& counter, int n) {
    const std::lock_guard guard(mutex_);
    counter = n;
  }

  rocksdb::IOStatus powered() {
    const std::lock_guard guard(mutex_);
    return off_ ? rocksdb::IOStatus::IOError("power is off") : rocksdb::IOStatus::OK();
  }

  rocksdb::IOStatus before_append(const std::string& name) {
    const std::lock_guard guard(mutex_);
    if (off_) return rocksdb::IOStatus::IOError("power is off");
    if (is_log(name) && append_fails_in_ >= 0 && append_fails_in_-- == 0) {
      return rocksdb::IOStatus::NoSpace("No space left on device");
    }
    return rocksdb::IOStatus::OK();
  }

  rocksdb::IOStatus before_sync(const std::string& name) {
    std::unique_lock guard(mutex_);
    if (is_log(name)) {
      ++syncs_;
      ++waiting_;
      changed_.notify_all();
      changed_.wait(guard, [&] { return !held_; });
      --waiting_;
      if (sync_fails_in_ >= 0 && sync_fails_in_-- == 0)
        return rocksdb::IOStatus::IOError("Input/output error");
    }
    return off_ ? rocksdb::IOStatus::IOError("power is off") : rocksdb::IOStatus::OK();
  }

  void wrote(const std::string& name, std::uint64_t bytes) {
    const std::lock_guard guard(mutex_);
    sizes_[name].written += bytes;
  }
  std::uint64_t written(const std::string& name) {
    const std::lock_guard guard(mutex_);
    return sizes_[name].written;
  }
  void synced(const std::string& name, std::uint64_t upto) {
    const std::lock_guard guard(mutex_);
    sizes_[name].synced = std::max(sizes_[name].synced, upto);
  }
  void synced_names_in(const std::string& path) {
    const std::lock_guard guard(mutex_);
    std::erase_if(new_names_, [&](const std::string& name) { return name.starts_with(path); });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, size> sizes_;
  std::set<std::string> new_names_;
  int append_fails_in_ = -1;
  int sync_fails_in_ = -1;
  int syncs_ = 0;
  int waiting_ = 0;
  bool held_ = false;
  bool off_ = false;
};

}  // namespace dislock::embedded
