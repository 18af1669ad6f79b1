"""An RTSP camera on this machine: Debian's gst-rtsp-server under the system's Python, which serves an H.264 .mp4.

    /usr/bin/python3 benchmarks/rtsp_server.py 8554 clip.mp4 [user:password] [certificate.pem key.pem]

The stream is rtsp://127.0.0.1:PORT/live, or rtsps:// with a certificate. It needs the packages
gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-good, gstreamer1.0-plugins-bad and python3-gi.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402


def main() -> None:
    port, clip, user, certificate, key = [*sys.argv[1:], "", "", ""][:5]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( filesrc location={clip} ! qtdemux ! h264parse ! rtph264pay name=pay0 config-interval=1 )")
    auth = GstRtspServer.RTSPAuth() if user or certificate else None
    if certificate:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_files(certificate, key))
    if user:
        name, _, password = user.partition(":")
        token = GstRtspServer.RTSPToken()
        token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "viewer")
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(name, password, token)
        factory.add_role_from_structure(
            Gst.Structure.from_string("viewer, media.factory.access=true, media.factory.construct=true")[0]
        )
    if auth is not None:
        server.set_auth(auth)
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()


main()
