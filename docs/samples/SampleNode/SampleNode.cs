using System.Net;
using Pipeline.Cryptography;
using Pipeline.Reactors;
using Pipeline.Switching;
using Pipeline.Transport;

namespace Pipeline.Samples;

/// <summary>
/// What the samples have in common: a node with a protocol or two, which listens and dials as the command line says, and does something with each
/// line of its input until that ends, or Ctrl+C.
/// </summary>
public static class SampleNode
{
    private const string Usage =
        """
        Options: --name NAME            what others see
                 --network NAME         which network to be in; only nodes of the same become peers
                 --listen IP:PORT       where others can connect; port 0 for any
                 --connect ID@HOST:PORT whom to connect to, as that node has printed it; may be repeated
        """;

    /// <summary>Runs a node on the console, and returns the exit code.</summary>
    public static async Task<int> RunAsync(string[] args, IReadOnlyList<Reactor> reactors, Func<string, Task> onLine, Func<Task>? onEnd = null)
    {
        using CancellationTokenSource stop = new();
        Console.CancelKeyPress += (_, e) =>
        {
            e.Cancel = true;
            stop.Cancel();
        };
        return await RunAsync(args, Console.In, Console.Out, reactors, onLine, onEnd, stop.Token);
    }

    /// <summary>Runs a node on any input and output.</summary>
    /// <param name="args">The command line.</param>
    /// <param name="input">What is read line by line.</param>
    /// <param name="output">Where the node says how it can be reached, or what is wrong.</param>
    /// <param name="reactors">The protocols, at least one.</param>
    /// <param name="onLine">What is done with a line.</param>
    /// <param name="onEnd">What is done after the last line, before the peers get what still waits for them and the node stops.</param>
    /// <param name="cancellationToken">Stops the node at once.</param>
    public static async Task<int> RunAsync(
        string[] args,
        TextReader input,
        TextWriter output,
        IReadOnlyList<Reactor> reactors,
        Func<string, Task> onLine,
        Func<Task>? onEnd,
        CancellationToken cancellationToken)
    {
        // Nodes of different networks do not become peers. Many nodes on one machine have one address, so that has to be allowed.
        SwitchOptions options = new() { Network = $"sample-{reactors[0].Name}", ListenEndPoint = null, AllowDuplicateIp = true };
        List<NetAddress> others = [];
        foreach (string[] pair in args.Chunk(2))
        {
            switch (pair)
            {
                case ["--name", string name]:
                    options = options with { Moniker = name };
                    break;
                case ["--network", string network]:
                    options = options with { Network = network };
                    break;
                case ["--listen", string text] when IPEndPoint.TryParse(text, out IPEndPoint? endPoint):
                    options = options with { ListenEndPoint = endPoint };
                    break;
                case ["--connect", string text] when NetAddress.TryParse(text, out NetAddress? address):
                    others.Add(address);
                    break;
                default:
                    await output.WriteLineAsync($"Not understood: {string.Join(' ', pair)}\n{Usage}");
                    return 1;
            }
        }

        // A real node keeps its key in a file, because its id is made of it.
        using NodeKey key = NodeKey.Create();
        await using Switch node = new(key, options);
        try
        {
            foreach (Reactor reactor in reactors)
            {
                node.AddReactor(reactor);
            }

            await node.StartAsync(cancellationToken);
            if (options.ListenEndPoint is not null)
            {
                await output.WriteLineAsync($"Others can use: --connect {node.ListenAddress}");
            }

            foreach (NetAddress address in others)
            {
                await node.DialAsync(address, cancellationToken);
            }

            // A console's ReadLineAsync waits on the thread that calls it.
            while (await Task.Run(input.ReadLine, CancellationToken.None).WaitAsync(cancellationToken) is { } line)
            {
                await onLine(line);
            }

            await (onEnd?.Invoke() ?? Task.CompletedTask);
            await Task.WhenAll(node.Peers.Select(peer => peer.StopGracefullyAsync()));
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
        }
        catch (Exception e) when (e is IOException or HandshakeException or ArgumentException)
        {
            await output.WriteLineAsync(e.Message);
            return 1;
        }

        return 0;
    }
}
