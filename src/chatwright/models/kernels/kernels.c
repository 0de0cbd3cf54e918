/* Products and attention for a few rows, as decoding has them: each reads its matrix once, as fast as memory gives it.

   Plain C with vectors of GCC and Clang, which become AVX, NEON or whatever the processor has; intrinsics stand only
   where compilers do not find the instruction. Every row of a result is computed in the same order whatever rows stand beside it.
   Shapes: N rows, `in` and `out` features; B rows of a cache, H query heads, S key-value heads, K keys, D channels. */

#include "vectors.h"
#include "products.h"
#include "nf4.h"
#include "linear.h"
#include "attention.h"
#include "block.h"
