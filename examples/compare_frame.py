"""Which way of balancing serves a table of one's own best? As in a notebook."""

import numpy as np
import pandas as pd

import equipoise

random = np.random.default_rng(0)
houses = pd.DataFrame(random.normal(size=(400, 6)), columns=list("abcdef"))
houses["price"] = 1000 * (houses.a + houses.b) + random.normal(size=400)
houses["sold"] = houses.c + random.normal(size=400) > 0

if __name__ == "__main__":  # for jobs, which are processes of their own
    result = equipoise.compare(
        houses,
        options={"targets": ["price", "sold"]},
        methods=["constant", "slaw"],
        steps=200,
        jobs=2,
        out="results/houses",
    )
    print(result.summary.to_string())
    print(result.verdict)
    print(equipoise.predict("results/houses", houses.head(3), problem=houses))
