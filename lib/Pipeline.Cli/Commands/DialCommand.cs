using System.Collections.Immutable;
using System.CommandLine;
using System.CommandLine.Parsing;
using Microsoft.Extensions.Logging;
using Pipeline.Cli.Logging;
using Pipeline.Cryptography;
using Pipeline.Protocols;
using Pipeline.Transport;

namespace Pipeline.Cli.Commands;

/// <summary><c>pipeline dial</c>: what a live node says of itself, and how long it takes to say it.</summary>
internal static class DialCommand
{
    // No peer that the address is passed on to could dial it; strict address books refuse it.
    internal const string NoListenAddress = "tcp://127.0.0.1:0";

    // How long each node may take to say what network it is of.
    private static readonly TimeSpan AskTimeout = TimeSpan.FromSeconds(10);

    public static Command Create(CommandHost host, CommonOptions common)
    {
        Argument<NetAddress> address = new("address")
        {
            HelpName = "ID@HOST:PORT",
            Description = "The node to dial. ID is the 40 hexadecimal digits of the node's id.",
            CustomParser = ParseAddress,
        };
        Option<string?> network = new("--network")
        {
            HelpName = "ID",
            Description = "The network (chain id) to be a peer of; the node must be of it. Without it the node is only asked what it is.",
            CustomParser = ParseNetwork,
        };
        Option<TimeSpan> timeout = new("--timeout")
        {
            HelpName = "DURATION",
            Description = "How long connecting and the handshake may take together, such as 500ms, 3s or 1m30s. [default: 10s]",
            CustomParser = Duration.ParseOption,
        };

        Command command = new("dial", "Connect to a node and print what it says of itself.") { address, network, timeout };
        command.SetAction(async (arguments, cancellationToken) =>
        {
            TimeSpan limit = arguments.GetResult(timeout) is null ? TimeSpan.FromSeconds(10) : arguments.GetValue(timeout);
            using ILoggerFactory loggers = common.CreateLoggerFactory(host, arguments);
            DialReport report;
            try
            {
                ILogger logger = loggers.CreateLogger(nameof(DialCommand));
                report = await DialAsync(arguments.GetRequiredValue(address), arguments.GetValue(network), limit, logger, cancellationToken);
            }
            catch (OperationCanceledException)
            {
                await host.Error.WriteLineAsync("Interrupted before the node had answered.");
                return ExitCode.Interrupted;
            }

            await report.WriteAsync(host, arguments.GetValue(common.Json));
            return report.Error is null ? ExitCode.Success : ExitCode.Failure;
        });
        return command;
    }

    /// <summary>Asks a node what it is: of a network, as a peer, or, with null, whatever it is of.</summary>
    internal static async Task<DialReport> DialAsync(NetAddress address, string? network, TimeSpan timeout, ILogger logger, CancellationToken cancellationToken)
    {
        TimeProvider time = TimeProvider.System;
        using NodeKey key = NodeKey.Create();
        NodeInfo local = new()
        {
            Id = key.Id,
            ListenAddress = NoListenAddress,
            Network = network ?? "",
            Version = typeof(DialCommand).Assembly.GetName().Version!.ToString(3),
            // A node takes a peer that has a channel in common with it.
            Channels = [.. StandardChannels.All.Select(channel => channel.Id)],
            Moniker = "pipeline-dial",
        };
        DialReport report = new(address);

        // One limit over both steps, so neither has one of its own.
        using CancellationTokenSource deadline = new(timeout, time);
        using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, deadline.Token);
        TcpTransport transport = new() { DialTimeout = Timeout.InfiniteTimeSpan };
        try
        {
            long start = time.GetTimestamp();
            TransportConnection connection = await transport.ConnectAsync(address, either.Token);
            report = report with { EndPoint = connection.RemoteEndPoint, ConnectTime = time.GetElapsedTime(start) };
            DialLog.Connected(logger, connection.RemoteEndPoint, report.ConnectTime.Value.TotalMilliseconds);

            await using AuthenticatedConnection authenticated = await Handshake.PerformAsync(
                connection.Stream,
                key,
                local,
                dialled: address.Id,
                new HandshakeOptions { Timeout = Timeout.InfiniteTimeSpan },
                either.Token);
            report = report with { Node = authenticated.RemoteInfo, HandshakeTime = authenticated.HandshakeTime };
            DialLog.Authenticated(logger, authenticated.RemoteInfo.Id, authenticated.HandshakeTime.TotalMilliseconds);
            if (network is not null)
            {
                authenticated.EnsureCompatible(local);
            }

            return report;
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            string step = report.ConnectTime is null ? "answer" : "finish the handshake";
            return report with { Code = "timeout", Error = $"{address.DialString} did not {step} within {timeout.TotalSeconds:0.###} s." };
        }
        catch (HandshakeException e)
        {
            return report with { Code = DialReport.CodeOf(e.Failure), Error = e.Message, Node = report.Node ?? e.RemoteInfo };
        }
        catch (IOException e)
        {
            return report with { Code = "unreachable", Error = e.Message };
        }
    }

    /// <summary>Asks nodes, one after the other, what network they are of: one that takes no strangers says so too.</summary>
    /// <returns>What the first that answers says of itself.</returns>
    /// <exception cref="IOException">None answers; the message has a line for each, fit for a terminal.</exception>
    internal static async Task<NodeInfo> LearnAsync(IEnumerable<NetAddress> addresses, ILogger logger, CancellationToken cancellationToken)
    {
        List<string> failures = [];
        foreach (NetAddress address in addresses)
        {
            DialReport report = await DialAsync(address, network: null, AskTimeout, logger, cancellationToken);
            if (report.Node is { } node)
            {
                return node;
            }

            failures.Add(Printable.Of($"{address}: {report.Error}"));
        }

        throw new IOException(string.Join('\n', failures));
    }

    /// <summary>Reads the addresses that a command is given; when one is wrong, <paramref name="error"/> says what would be right.</summary>
    internal static ImmutableArray<NetAddress> ParseAddresses(IEnumerable<string> texts, Command command, CommonOptions common, out string? error)
    {
        error = null;
        ImmutableArray<NetAddress>.Builder nodes = ImmutableArray.CreateBuilder<NetAddress>();
        foreach (string text in texts)
        {
            // The parser takes an option that it does not know for an address.
            NetAddress? node = null;
            error = text.StartsWith('-')
                ? $"There is no option '{Printable.Of(text, 40)}' here; there is {string.Join(", ", command.Options.Concat(common.All).Select(static option => option.Name))}."
                : (node = ParseAddress(text, out string? fault)) is null ? fault : null;
            if (node is null)
            {
                return [];
            }

            nodes.Add(node);
        }

        return nodes.ToImmutable();
    }

    private static NetAddress? ParseAddress(ArgumentResult result)
    {
        NetAddress? address = ParseAddress(result.Tokens[0].Value, out string? error);
        if (error is not null)
        {
            result.AddError(error);
        }

        return address;
    }

    /// <summary>Reads an address that can be dialled; null when it is none, with what would be right in <paramref name="error"/>.</summary>
    internal static NetAddress? ParseAddress(string text, out string? error)
    {
        try
        {
            NetAddress address = NetAddress.Parse(text);
            error = address.Port > 0 ? null : $"'{text}' cannot be dialled: its port is 0. Expected is a port from 1 to 65535.";
            return error is null ? address : null;
        }
        catch (FormatException e)
        {
            error = e.Message;
            return null;
        }
    }

    /// <summary>Reads the id of a network, which is not empty.</summary>
    internal static string? ParseNetwork(ArgumentResult result)
    {
        string network = result.Tokens[0].Value;
        if (string.IsNullOrWhiteSpace(network))
        {
            result.AddError("--network is empty. Expected is the id of a network, such as cosmoshub-4; leave the option out when you do not know it.");
        }

        return network;
    }
}
