using System.Net;
using Microsoft.Extensions.Logging;
using Pipeline.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Diagnostics;

/// <summary>What a switch logs. Event ids are kept when texts change.</summary>
internal static partial class SwitchLog
{
    [LoggerMessage(1, LogLevel.Information, "Node {Id} listens on {EndPoint}.")]
    public static partial void Listening(ILogger logger, NodeId id, IPEndPoint endPoint);

    [LoggerMessage(2, LogLevel.Information, "Peer {Id} at {EndPoint} was added (outbound: {IsOutbound}).")]
    public static partial void PeerAdded(ILogger logger, NodeId id, IPEndPoint endPoint, bool isOutbound);

    [LoggerMessage(3, LogLevel.Information, "Peer {Id} at {EndPoint} was removed. {Reason}")]
    public static partial void PeerRemoved(ILogger logger, NodeId id, IPEndPoint endPoint, string reason, Exception? exception);

    [LoggerMessage(4, LogLevel.Debug, "A connection from {EndPoint} did not become a peer. {Reason}")]
    public static partial void InboundRefused(ILogger logger, IPEndPoint endPoint, string reason);

    [LoggerMessage(5, LogLevel.Warning, "No connection can be accepted at the moment. {Reason}")]
    public static partial void AcceptFailed(ILogger logger, string reason);

    [LoggerMessage(6, LogLevel.Error, "Reactor {Reactor} failed in {Callback}.")]
    public static partial void ReactorFailed(ILogger logger, string reactor, string callback, Exception exception);

    [LoggerMessage(7, LogLevel.Error, "Reactor {Reactor} has not returned from {Callback} about peer {Id}, which has stopped; going on without it.")]
    public static partial void ReactorStuck(ILogger logger, string reactor, string callback, NodeId id);

    [LoggerMessage(8, LogLevel.Error, "Reactor {Reactor} has not returned from {Callback}, although the switch stops; going on without it.")]
    public static partial void ReactorStuck(ILogger logger, string reactor, string callback);

    [LoggerMessage(9, LogLevel.Warning, "{Count} messages of peer {Id}, which has left, were dropped: the reactors did not get to them in time.")]
    public static partial void MessagesLeft(ILogger logger, int count, NodeId id);

    [LoggerMessage(10, LogLevel.Information, "Persistent peer {Address} could not be connected to, {Failures} times in a row. {Reason}")]
    public static partial void RedialFailed(ILogger logger, NetAddress address, int failures, string reason);

    [LoggerMessage(11, LogLevel.Warning, "{Target} is banned until {Until} (no time: for ever). {Reason}")]
    public static partial void BanAdded(ILogger logger, string target, DateTimeOffset? until, string reason);

    [LoggerMessage(12, LogLevel.Warning, "Peer {Id} at {EndPoint} has done nothing useful for {Seconds} s.")]
    public static partial void PeerIsLazy(ILogger logger, NodeId id, IPEndPoint endPoint, double seconds);
}
