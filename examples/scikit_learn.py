"""Two targets with missing labels in scikit-learn: a search for the best weighting."""

import numpy as np
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from equipoise.sklearn import MultiTaskRegressor

random = np.random.default_rng(0)
X = random.normal(size=(600, 6))
price = 1_000 * (X[:, 0] * X[:, 1] + X[:, 2]) + 100 * random.normal(size=600)
rent = 5 * (X[:, 0] * X[:, 1] - X[:, 3]) + 3 * random.normal(size=600)
y = np.stack([price, rent], axis=1)
y[random.random(600) < 0.8, 1] = np.nan  # most rents are not known

train, test, y_train, y_test = train_test_split(X, y, random_state=0)
model = make_pipeline(
    PolynomialFeatures(include_bias=False),
    MultiTaskRegressor(steps=150, batch_size=64, hidden_layer_sizes=(64,), random_state=0),
)
search = GridSearchCV(
    model,
    {
        "multitaskregressor__weighting": ["constant", "slaw", "uncertainty"],
        "multitaskregressor__learning_rate_init": [1e-3, 1e-2],
    },
    cv=3,
)
search.fit(train, y_train)

for settings, score in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    rate, weighting = settings.values()
    print(f"{weighting:12} learning rate {rate:<6} R² {score:.3f}")
best = search.best_estimator_[-1]
print(f"best: {best.weighting}, R² {search.score(test, y_test):.3f} on the test part")
print("its weights:", {name: round(each, 2) for name, each in best.weights_by_target_.items()})
