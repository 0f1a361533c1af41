"""Times Kernel Tuner's construction of its own gemm space. Runs in the bench's venv; prints JSON.

The space is that of Kernel Tuner's gemm example (CLBlast's): 82,944 combinations, 17,956 valid.
"""

import json
import time

from kernel_tuner.searchspace import Searchspace

PARAMETERS = {
    "MWG": [16, 32, 64, 128],
    "NWG": [16, 32, 64, 128],
    "KWG": [32],
    "MDIMC": [8, 16, 32],
    "NDIMC": [8, 16, 32],
    "MDIMA": [8, 16, 32],
    "NDIMB": [8, 16, 32],
    "KWI": [2],
    "VWM": [1, 2, 4, 8],
    "VWN": [1, 2, 4, 8],
    "STRM": [0],
    "STRN": [0],
    "SA": [0, 1],
    "SB": [0, 1],
}
CONSTRAINTS = [
    "KWG % KWI == 0",
    "MWG % (MDIMC * VWM) == 0",
    "NWG % (NDIMC * VWN) == 0",
    "MWG % (MDIMA * VWM) == 0",
    "NWG % (NDIMB * VWN) == 0",
    "KWG % ((MDIMC * NDIMC)/MDIMA) == 0",
    "KWG % ((MDIMC * NDIMC)/NDIMB) == 0",
]

seconds = []
valid = 0
for _ in range(5):  # the best of several, as bench_space does for ours
    start = time.perf_counter()
    valid = Searchspace(PARAMETERS, CONSTRAINTS, 1024).size
    seconds.append(time.perf_counter() - start)
print(json.dumps({"milliseconds": 1e3 * min(seconds), "valid": valid}))
