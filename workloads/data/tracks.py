"""Trajectories of vehicles: a kinematic bicycle model driven by random commands, measured with noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeprof.workloads.data.sample import FUTURE, PAST, STATES

STEP = 0.1
"""Seconds between two states."""
WHEELBASE = 2.7
NOISE = np.array((0.05, 0.05, 0.01, 0.1, 0.1, 0.005), np.float32)
"""Standard deviation of what a tracker measures: m, m, rad, m/s, m/s2, rad."""


def make_tracks(seed: int, number: int, count: int) -> NDArray[np.float32]:
    """Tracks float32 [count, PAST + FUTURE, STATES]; x and y are seen from the vehicle at the end of the past.

    The model is that of Kong et al., "Kinematic and dynamic vehicle models for autonomous driving control design"
    (2015), at the rear axle; acceleration and steering return to a target that each vehicle keeps (braking, turning,
    following its lane), so that the past tells of the future.
    """
    rng = np.random.default_rng((seed, number))
    steps = PAST + FUTURE
    states = np.zeros((count, steps, STATES))
    x, y, heading = np.zeros(count), np.zeros(count), np.zeros(count)
    speed = rng.uniform(2, 30, count)
    wanted_speed = np.clip(speed + rng.normal(0, 5, count), 0, 38)
    # What a tyre holds sideways (3 m/s2) bounds the steering angle at a speed.
    sharpest = np.arctan(WHEELBASE * 3.0 / np.maximum(speed, 3.0) ** 2)
    wanted_steering = np.where(rng.random(count) < 0.5, 0.0, rng.uniform(-1, 1, count)) * sharpest
    steering = wanted_steering * rng.random(count)
    acceleration = np.zeros(count)
    for step in range(steps):
        states[:, step] = np.stack((x, y, heading, speed, acceleration, steering), 1)
        acceleration += STEP * (2.0 * (0.5 * (wanted_speed - speed) - acceleration)) + rng.normal(0, 0.1, count)
        acceleration = np.clip(acceleration, -6, 3)
        steering += STEP * 1.5 * (wanted_steering - steering) + rng.normal(0, 0.002, count)
        x = x + STEP * speed * np.cos(heading)
        y = y + STEP * speed * np.sin(heading)
        heading = heading + STEP * speed / WHEELBASE * np.tan(steering)
        speed = np.maximum(speed + STEP * acceleration, 0)
    now = states[:, PAST - 1, :3].copy()
    dx, dy = states[:, :, 0] - now[:, None, 0], states[:, :, 1] - now[:, None, 1]
    cosine, sine = np.cos(now[:, None, 2]), np.sin(now[:, None, 2])
    states[:, :, 0], states[:, :, 1] = cosine * dx + sine * dy, cosine * dy - sine * dx
    states[:, :, 2] -= now[:, None, 2]
    measured = states.astype(np.float32)
    measured += NOISE * rng.standard_normal(measured.shape, np.float32)
    return measured
