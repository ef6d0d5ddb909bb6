"""Logistic regression on sparse features, trained by stochastic gradient descent."""

import math
import random


class Model:
    """Weights by feature; a feature without a weight counts as zero."""

    def __init__(self, weights):
        self.weights = dict(weights)

    def probability(self, features):
        score = sum(self.weights.get(name, 0.0) for name in features)
        return 1.0 / (1.0 + math.exp(-score))

    def train_epoch(self, examples, learning_rate, seed):
        """One pass in an order that `seed` decides; returns the mean loss in nats."""
        order = list(range(len(examples)))
        random.Random(seed).shuffle(order)
        loss = 0.0
        for index in order:
            features, target = examples[index]
            guess = self.probability(features)
            loss -= math.log(guess if target else 1.0 - guess)
            step = learning_rate * (target - guess)
            for name in features:
                self.weights[name] = self.weights.get(name, 0.0) + step
        return loss / len(examples)

    def accuracy(self, examples):
        right = sum((self.probability(features) > 0.5) == (target == 1.0) for features, target in examples)
        return right / len(examples)
