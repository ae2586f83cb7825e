// Objects of one type out of large slabs: a table of a million leases should not pay malloc's overhead per
// lease.
#pragma once

#include <boost/pool/pool.hpp>

#include <memory>
#include <new>
#include <utility>

// g++ says so one way, clang another.
#if defined(__SANITIZE_ADDRESS__)
#define DISLOCK_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define DISLOCK_ADDRESS_SANITIZER
#endif
#endif

namespace dislock::core {

/// Creates and destroys in O(1). Memory goes back to the system with the pool. Under AddressSanitizer every
/// object is an allocation of its own, so that a stale pointer is found.
template <class T>
class object_pool {
 public:
  template <class... Args>
  [[nodiscard]] T* create(Args&&... args) {
#ifdef DISLOCK_ADDRESS_SANITIZER
    return new T(std::forward<Args>(args)...);
#else
    void* place = pool_.malloc();
    if (place == nullptr) throw std::bad_alloc();
    return new (place) T(std::forward<Args>(args)...);
#endif
  }
  void destroy(T* object) noexcept {
#ifdef DISLOCK_ADDRESS_SANITIZER
    delete object;
#else
    object->~T();
    pool_.free(object);
#endif
  }

 private:
  boost::pool<> pool_{sizeof(T), 256, 8192};
};

}  // namespace dislock::core
