"""Classification, as the exporter knows it."""

from __future__ import annotations

from torch import nn

from sparsevit_exporter.networks import HeadedModel
from sparsevit_exporter.tasks import Task


class ClassifierHead(nn.Module):
    def __init__(self, in_channels, num_classes, channels):
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels[-1], channels, 1)
        self.classify = nn.Linear(channels, num_classes)

    def forward(self, maps):
        """Maps -> (B, K) logits."""
        return self.classify(self.squeeze(maps[-1]).mean((2, 3)))


class ClassifierModel(HeadedModel):
    task = "classification"
    head_type = ClassifierHead


class DeployedClassifier(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, maps):
        logits = self.head(maps).float()
        return {"scores": logits.softmax(-1), "logits": logits}


class ClassificationTask(Task):
    name = "classification"
    network = ClassifierModel
    compared_only = ("logits",)

    def deploy(self, network, input_hw, options):
        return DeployedClassifier(network.head)

    def compare(self, run, expected, outputs):
        return [
            run.real("logits", outputs["logits"], expected),
            run.real("scores", outputs["scores"], expected.softmax(-1)),
        ]
