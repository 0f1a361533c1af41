#pragma once
#define MAX_FACTORS 12
#if read_only
#define LOAD(p) __ldg(p)
#else
#define LOAD(p) (*(p))
#endif
