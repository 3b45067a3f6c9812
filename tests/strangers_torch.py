"""A module of torch, and a function that asks torch for its gradient."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, input_size, hidden_size, output_size):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, output_size)

    def forward(self, x):
        return torch.sigmoid(self.fc2(torch.sigmoid(self.fc1(x))))


def gradients(weights, biases, x, y):
    weights, biases = ([torch.tensor(part, requires_grad=True) for part in parts] for parts in (weights, biases))
    a = torch.tensor(x)
    for W, b in zip(weights, biases, strict=True):
        a = torch.sigmoid(a @ W + b)
    loss = ((a - torch.tensor(y)) ** 2).sum() / (2 * len(x))
    loss.backward()
    return loss, [W.grad for W in weights], [b.grad for b in biases]
