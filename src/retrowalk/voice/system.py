"""Which road there is to the sound devices of this machine."""

from __future__ import annotations

from retrowalk.errors import SoundError
from retrowalk.platform import SoundSystem
from retrowalk.voice.alsa import AlsaSystem, _library


def sound_system() -> SoundSystem:
    """ALSA where its library can be loaded, which is every Linux that has sound; else (macOS) PortAudio."""
    try:
        _library()
    except SoundError:
        from retrowalk.voice.portaudio import PortAudioSystem

        return PortAudioSystem()
    return AlsaSystem()
