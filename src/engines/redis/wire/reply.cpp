#include "engines/redis/wire/reply.hpp"

#include <hiredis/read.h>

#include <algorithm>
#include <new>

namespace dislock::redis {

std::string_view reply::error_word() const noexcept {
  if (!failed()) return {};
  std::string_view rest = text;
  if (rest.starts_with("ERR Error running script")) {
    // ... (call to f_6b1b): @user_script:1: @user_script: 1: -READONLY You can't write ...
    if (const auto at = rest.find(": -"); at != std::string_view::npos) rest.remove_prefix(at + 3);
  }
  return rest.substr(0, rest.find(' '));
}

const reply& reply::at(std::size_t index) const noexcept {
  static const reply none;
  return index < items.size() ? items[index] : none;
}

struct reply_reader::growth {
  explicit growth(const reply_limits& l) : limits(l) {}

  const reply_limits limits;
  reply root;
  std::size_t bytes = 0, items = 0;
  const char* refusal = nullptr;

  void clear() {
    root = {};
    bytes = items = 0;
  }

  // Where the value of `task` goes; null when it is too much. Elements of an array stay where they are while
  // the array inside of them is read: their own array grows only after that.
  static reply* place(const redisReadTask* task) noexcept {
    auto& g = *static_cast<growth*>(task->privdata);
    if (++g.items > g.limits.items) return g.refuse("a reply has too many items");
    g.bytes += sizeof(reply);
    if (g.bytes > g.limits.bytes) return g.refuse("a reply is too large");
    if (!task->parent) return &g.root;
    auto& siblings = static_cast<reply*>(task->parent->obj)->items;
    return &siblings.emplace_back();
  }
  reply* refuse(const char* why) noexcept {
    refusal = why;
    return nullptr;
  }

  static void* make_string(const redisReadTask* task, char* text, std::size_t size) {
    auto& g = *static_cast<growth*>(task->privdata);
    auto* r = place(task);
    if (!r) return nullptr;
    if (size > g.limits.bytes - g.bytes) return g.refuse("a reply is too large");
    g.bytes += size;
    r->is = task->type == REDIS_REPLY_STATUS  ? reply::kind::status
            : task->type == REDIS_REPLY_ERROR ? reply::kind::error
                                              : reply::kind::bulk;
    r->text.assign(text, size);
    return r;
  }
  static void* make_array(const redisReadTask* task, int size) {
    auto& g = *static_cast<growth*>(task->privdata);
    auto* r = place(task);
    if (!r) return nullptr;
    std::size_t depth = 1;
    for (const auto* up = task->parent; up; up = up->parent) ++depth;
    if (depth > g.limits.depth) return g.refuse("a reply is too deep");
    if (static_cast<std::size_t>(size) > g.limits.items - g.items)
      return g.refuse("a reply has too many items");
    r->is = reply::kind::array;
    // What is announced costs nothing before it comes.
    r->items.reserve(static_cast<std::size_t>(std::min(size, 64)));
    return r;
  }
  static void* make_integer(const redisReadTask* task, long long value) {
    auto* r = place(task);
    if (!r) return nullptr;
    r->is = reply::kind::integer;
    r->number = value;
    return r;
  }
  static void* make_nil(const redisReadTask* task) { return place(task); }
  static void let_go(void*) {}  // the root is ours
};

namespace {
redisReplyObjectFunctions builders{&reply_reader::growth::make_string, &reply_reader::growth::make_array,
                                   &reply_reader::growth::make_integer, &reply_reader::growth::make_nil,
                                   &reply_reader::growth::let_go};
}  // namespace

reply_reader::reply_reader(const reply_limits& limits)
    : limits_(limits),
      growth_(std::make_unique<growth>(limits)),
      reader_(redisReaderCreateWithFunctions(&builders)) {
  if (!reader_) throw std::bad_alloc();
  reader_->privdata = growth_.get();
}

reply_reader::~reply_reader() {
  redisReaderFree(reader_);
}

void reply_reader::feed(std::string_view bytes) {
  if (!failure_.empty()) return;
  if (redisReaderFeed(reader_, bytes.data(), bytes.size()) != REDIS_OK) failure_ = "out of memory";
}

reply_reader::progress reply_reader::next(reply& out) {
  if (!failure_.empty()) return progress::failed;
  void* got = nullptr;
  if (redisReaderGetReply(reader_, &got) != REDIS_OK) {
    failure_ = growth_->refusal ? growth_->refusal : "not what Redis would say";
    growth_->clear();
    return progress::failed;
  }
  if (got) {
    out = std::move(growth_->root);
    growth_->clear();
    return progress::complete;
  }
  if (reader_->len - reader_->pos > limits_.bytes - std::min(growth_->bytes, limits_.bytes)) {
    failure_ = "a reply is too large";
    return progress::failed;
  }
  return progress::need_more;
}

}  // namespace dislock::redis
