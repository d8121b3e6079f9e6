using Pipeline.Cryptography;

namespace Pipeline.Transport;

/// <summary>Why a handshake failed.</summary>
public enum HandshakeFailure
{
    /// <summary>The remote did not finish in time.</summary>
    Timeout,

    /// <summary>The remote closed the connection before the handshake was over, or the connection broke.</summary>
    ConnectionClosed,

    /// <summary>The remote's first message does not hold an ephemeral key of 32 bytes.</summary>
    InvalidEphemeralKey,

    /// <summary>The remote's ephemeral key is a point of low order, or our own.</summary>
    UnsafeEphemeralKey,

    /// <summary>A frame was not sealed by the remote, or was changed, repeated, reordered or left out on its way.</summary>
    FrameNotAuthentic,

    /// <summary>A frame says that it holds more than 1024 bytes.</summary>
    InvalidFrameLength,

    /// <summary>The remote's proof of its identity cannot be read, or holds no key, or a key or signature of another kind or length.</summary>
    InvalidAuthentication,

    /// <summary>The remote's signature is not one of its node key over this connection's challenge.</summary>
    BadSignature,

    /// <summary>The remote authenticated with our own node key: it is this node itself, or reflects what we sent.</summary>
    Self,

    /// <summary>Another node answered than the one that was dialled.</summary>
    WrongNode,

    /// <summary>The remote's NodeInfo cannot be read or breaks a rule.</summary>
    InvalidNodeInfo,

    /// <summary>The id in the remote's NodeInfo is not that of the key it authenticated with.</summary>
    NodeInfoIdMismatch,

    /// <summary>The remote speaks another version of the block protocol.</summary>
    DifferentBlockVersion,

    /// <summary>The remote belongs to another network.</summary>
    DifferentNetwork,

    /// <summary>The remote has none of our channels.</summary>
    NoCommonChannel,

    /// <summary>The remote is connected already, or being dialled.</summary>
    AlreadyConnected,

    /// <summary>Another node with the remote's IP address is connected already.</summary>
    DuplicateIp,

    /// <summary>There are as many inbound peers as this node takes.</summary>
    TooManyInboundPeers,

    /// <summary>The remote's address connects more often than this node takes, or there are as many connections in their handshake as it takes.</summary>
    TooManyConnections,

    /// <summary>This node's lists of whom it allows and denies keep the remote out.</summary>
    Denied,

    /// <summary>The remote, or its address, is banned at this node.</summary>
    Banned,

    /// <summary>A filter of this node said no, failed, or took too long.</summary>
    Filtered,

    /// <summary>The connection came about, and ended before all reactors had added the peer.</summary>
    PeerStopped,

    /// <summary>This node stops.</summary>
    SwitchStopped,
}

/// <summary>A connection did not come about. The message says why, in a sentence for people.</summary>
public sealed class HandshakeException : IOException
{
    /// <summary>Creates the exception.</summary>
    public HandshakeException(HandshakeFailure failure, string message, Exception? innerException = null)
        : base(message, innerException) => Failure = failure;

    /// <summary>Why the handshake failed.</summary>
    public HandshakeFailure Failure { get; }

    /// <summary>The remote's id, when it got so far as to authenticate.</summary>
    public NodeId RemoteId { get; init; }

    /// <summary>What the remote said of itself, when it got so far.</summary>
    public NodeInfo? RemoteInfo { get; init; }
}
