// A callable that is moved, not copied, and called when the time comes.
#pragma once

#include "base/assert.hpp"

#include <cstddef>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

namespace dislock {

template <class Signature>
class unique_function;

/// Like the `std::move_only_function` of a later C++. Callables of up to six words live inside.
template <class R, class... Args>
class unique_function<R(Args...)> {
 public:
  unique_function() noexcept = default;
  unique_function(std::nullptr_t) noexcept {}
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, unique_function> &&
             std::is_invocable_r_v<R, F&, Args...>)
  unique_function(F&& f) {
    using T = std::decay_t<F>;
    if constexpr (fits<T>) {
      ::new (static_cast<void*>(place_)) T(std::forward<F>(f));
      table_ = &inside<T>;
    } else {
      *reinterpret_cast<T**>(place_) = new T(std::forward<F>(f));
      table_ = &outside<T>;
    }
  }
  unique_function(unique_function&& other) noexcept { take(other); }
  unique_function& operator=(unique_function&& other) noexcept {
    if (this == &other) return *this;
    reset();
    take(other);
    return *this;
  }
  ~unique_function() { reset(); }

  R operator()(Args... args) {
    DISLOCK_ASSERT(table_ != nullptr, "a callable is called");
    return table_->call(place_, std::forward<Args>(args)...);
  }
  [[nodiscard]] explicit operator bool() const noexcept { return table_ != nullptr; }

 private:
  static constexpr std::size_t room = 6 * sizeof(void*);
  template <class T>
  static constexpr bool fits =
      sizeof(T) <= room && alignof(T) <= alignof(std::max_align_t) && std::is_nothrow_move_constructible_v<T>;

  struct operations {
    R (*call)(void*, Args&&...);
    void (*move)(void* to, void* from) noexcept;  // null: the bytes are all
    void (*destroy)(void*) noexcept;              // null: nothing to do
  };
  template <class T>
  static constexpr operations inside{
      [](void* p, Args&&... args) -> R { return (*static_cast<T*>(p))(std::forward<Args>(args)...); },
      std::is_trivially_copyable_v<T> ? nullptr : +[](void* to, void* from) noexcept {
        ::new (to) T(std::move(*static_cast<T*>(from)));
        static_cast<T*>(from)->~T();
      },
      std::is_trivially_destructible_v<T> ? nullptr : +[](void* p) noexcept { static_cast<T*>(p)->~T(); }};
  template <class T>
  static constexpr operations outside{
      [](void* p, Args&&... args) -> R { return (**static_cast<T**>(p))(std::forward<Args>(args)...); },
      nullptr, [](void* p) noexcept { delete *static_cast<T**>(p); }};

  void take(unique_function& other) noexcept {
    table_ = std::exchange(other.table_, nullptr);
    if (!table_) return;
    if (table_->move) {
      table_->move(place_, other.place_);
    } else {
      std::memcpy(place_, other.place_, room);
    }
  }
  void reset() noexcept {
    if (const auto* of = std::exchange(table_, nullptr); of && of->destroy) of->destroy(place_);
  }

  alignas(std::max_align_t) std::byte place_[room];
  const operations* table_ = nullptr;
};

}  // namespace dislock
