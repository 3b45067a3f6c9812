"""scikit-learn's MLP estimators, trained by this package: its parameters, its rules, its numbers.

>>> from backprop_ref.sklearn import MLPClassifier
>>> x, y = [[0.0], [1.0], [2.0], [3.0]], ["no", "no", "yes", "yes"]
>>> model = MLPClassifier((4,), solver="lbfgs", random_state=1).fit(x, y)
>>> model.predict([[0.5], [2.5]]).tolist()
['no', 'yes']
"""

from backprop_ref.sklearn.classifier import MLPClassifier
from backprop_ref.sklearn.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
