"""Compose files, as people write them."""

from __future__ import annotations

from gpucheck.facts import Compose, Seen, Unseen
from gpucheck.project.compose import parse_compose

TEXT = """\
# how we train
x-common: &common
  restart: always
name: demo
services:
  train:                      # on the GPU
    build:
      context: ./docker
      dockerfile: train.Dockerfile
    deploy:
      resources:
        reservations:
          devices:
            - capabilities:
                - gpu
  "web":
    image: "ghcr.io/example/web:1"
    ports: ["80:80"]
  other:
    <<: *common
    build: app
volumes:
  data:
"""


def parsed(text: str) -> Compose:
    found = parse_compose(Seen(text, "compose.yaml"))
    assert isinstance(found, Seen)
    return found.value


def test_services_with_what_they_build_and_whether_they_ask() -> None:
    assert [(each.name, each.image, each.dockerfile, each.asks, each.source) for each in parsed(TEXT).services] == [
        ("train", "", "docker/train.Dockerfile", True, "compose.yaml:6"),
        ("web", "ghcr.io/example/web:1", "", False, "compose.yaml:16"),
        ("other", "", "app/Dockerfile", True, "compose.yaml:19"),
    ]


def test_each_way_to_ask() -> None:
    for request in (
        "gpus: all",
        "runtime: nvidia",
        "devices: ['nvidia.com/gpu=all']",
        "devices: [/dev/nvidia0]",
        "deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}",
        "extends: base",
    ):
        (service,) = parsed(f"services:\n  a:\n    image: x\n    {request}\n").services
        assert service.asks, request


def test_a_file_without_services_and_one_in_another_style() -> None:
    assert parsed("volumes:\n  data:\n").services == ()
    found = parse_compose(Seen("name: x\nservices: {a: {image: b}}\n", "compose.yaml"))
    assert isinstance(found, Unseen) and found.tried == ("compose.yaml:2",)
