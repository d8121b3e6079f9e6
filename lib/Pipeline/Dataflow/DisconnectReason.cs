namespace Pipeline.Dataflow;

/// <summary>Kinds of reasons for which a connection ended.</summary>
public enum DisconnectKind
{
    /// <summary>The remote closed the connection.</summary>
    RemoteClosed,

    /// <summary>The connection broke.</summary>
    ConnectionLost,

    /// <summary>The remote sent what the protocol does not allow.</summary>
    ProtocolViolation,

    /// <summary>The remote did not answer a ping in time.</summary>
    PongTimeout,

    /// <summary>More messages of the peer wait for a reactor than the channel allows, and the channel says to disconnect then.</summary>
    LaneFull,

    /// <summary>A reactor threw while it dealt with the peer.</summary>
    ReactorFailed,

    /// <summary>
    /// A reactor, or the user's own code, stopped the peer because of what it did. The peer is banned for a time, see
    /// <c>SwitchOptions.BanTime</c>.
    /// </summary>
    Misbehaved,

    /// <summary>The peer, or its address, has been banned, or is on a list of those that are kept out.</summary>
    Banned,

    /// <summary>The peer did nothing useful for a time.</summary>
    Lazy,

    /// <summary>A reactor, or the user's own code, is done with the peer. A persistent peer is not dialled again.</summary>
    Stopped,

    /// <summary>The switch stops.</summary>
    SwitchStopped,
}

/// <summary>Why a connection ended.</summary>
/// <param name="Kind">The kind of reason.</param>
/// <param name="Message">A sentence for people.</param>
/// <param name="Exception">What was thrown, if anything was.</param>
public sealed record DisconnectReason(DisconnectKind Kind, string Message, Exception? Exception = null)
{
    /// <inheritdoc />
    public override string ToString() => $"{Kind}: {Message}";
}
