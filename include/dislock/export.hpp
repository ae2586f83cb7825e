// What the shared library lets others see.
#pragma once

#if defined(__GNUC__)
#define DISLOCK_API __attribute__((visibility("default")))
#else
#define DISLOCK_API
#endif
