#pragma once

/// 1 where the address sanitizer is compiled in, g++'s or clang's, else 0.
#if defined(__SANITIZE_ADDRESS__)
#define TRIPTYCH_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TRIPTYCH_ADDRESS_SANITIZER 1
#endif
#endif
#ifndef TRIPTYCH_ADDRESS_SANITIZER
#define TRIPTYCH_ADDRESS_SANITIZER 0
#endif
