using System.Net;
using Microsoft.Extensions.Logging;
using Pipeline.Cryptography;

namespace Pipeline.Cli.Logging;

/// <summary>What <c>pipeline dial</c> logs.</summary>
internal static partial class DialLog
{
    [LoggerMessage(1, LogLevel.Information, "Connected to {EndPoint} in {Milliseconds:0.00} ms.")]
    public static partial void Connected(ILogger logger, IPEndPoint endPoint, double milliseconds);

    [LoggerMessage(2, LogLevel.Information, "Node {Id} answered the handshake in {Milliseconds:0.00} ms.")]
    public static partial void Authenticated(ILogger logger, NodeId id, double milliseconds);
}
