using System.Net;
using Microsoft.Extensions.Logging;
using Pipeline.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Diagnostics;

/// <summary>What peer exchange logs: event ids 140 to 159, which are kept when texts change.</summary>
internal static partial class PeerExchangeLog
{
    [LoggerMessage(140, LogLevel.Debug, "{Outbound} of {Max} outbound peers, {Dialling} being dialled: {Count} more addresses are dialled.")]
    public static partial void Dialling(ILogger logger, int outbound, int max, int dialling, int count);

    [LoggerMessage(141, LogLevel.Debug, "{Address} could not be dialled. {Reason}")]
    public static partial void DialFailed(ILogger logger, NetAddress address, string reason);

    [LoggerMessage(142, LogLevel.Information, "{Address} is kept out of the address book for {Hours} h. {Reason}")]
    public static partial void KeptOut(ILogger logger, NetAddress address, double hours, string reason);

    [LoggerMessage(143, LogLevel.Information, "Seed {Address} could not be reached. {Reason}")]
    public static partial void SeedFailed(ILogger logger, NetAddress address, string reason);

    [LoggerMessage(144, LogLevel.Warning, "None of the {Count} seeds could be reached; they are tried again when there is still nobody else to dial.")]
    public static partial void NoSeedReached(ILogger logger, int count);

    [LoggerMessage(145, LogLevel.Debug, "Peer {Id} told {Count} addresses, {Added} of them new.")]
    public static partial void AddressesTold(ILogger logger, NodeId id, int count, int added);

    [LoggerMessage(146, LogLevel.Warning, "Peer {Id} at {EndPoint} has broken a rule of peer exchange. {Fault}")]
    public static partial void RuleBroken(ILogger logger, NodeId id, IPEndPoint endPoint, string fault);

    [LoggerMessage(147, LogLevel.Error, "Something went wrong in peer exchange, which goes on.")]
    public static partial void Failed(ILogger logger, Exception exception);

    [LoggerMessage(148, LogLevel.Debug, "{Count} addresses of the book are to be visited.")]
    public static partial void Visiting(ILogger logger, int count);
}
