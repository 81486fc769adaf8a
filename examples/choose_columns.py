"""Choose five of thirty columns, and use them with a classifier of scikit-learn."""

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mcprune

data = load_breast_cancer()
X, X_test, y, y_test = train_test_split(data.data, data.target, random_state=0)

result = mcprune.prune(X, y, keep=5, must_keep=["0"], start="l1", epochs=30)

columns = result.mask.indices
print("kept:", ", ".join(data.feature_names[columns]))
print("small network:", round((result.model.predict(X_test) == y_test).mean(), 3))

for name, chosen in {"five columns": columns, "all columns": slice(None)}.items():
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(X[:, chosen], y)
    print(f"logistic regression, {name}:", round(classifier.score(X_test[:, chosen], y_test), 3))
