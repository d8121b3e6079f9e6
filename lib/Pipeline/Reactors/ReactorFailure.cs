using Pipeline.Dataflow;

namespace Pipeline.Reactors;

/// <summary>The reason that a peer is stopped for when a reactor throws.</summary>
internal static class ReactorFailure
{
    public static DisconnectReason Of(Reactor reactor, string callback, Exception exception) =>
        new(DisconnectKind.ReactorFailed, $"Reactor '{reactor.Name}' failed in {callback}: {exception.Message}", exception);
}
