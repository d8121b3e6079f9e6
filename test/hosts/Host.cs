using System.Diagnostics;

namespace Pipeline.Hosts;

/// <summary>A host: a network namespace with one address, a home folder, and the node that runs there, if one does.</summary>
/// <param name="name">What it is called, as namespace, as device of the router, and as node.</param>
/// <param name="block">The second number of its address, which no other host has: below 128 on the left, else on the right.</param>
/// <param name="changed">Called when there is something new to see.</param>
internal sealed class Host(string name, int block, Action changed)
{
    private const string Files = "/run/hosts";
    private static readonly string CommandPath = Path.Combine(AppContext.BaseDirectory, "Pipeline.Cli.dll");

    private readonly List<string> _log = [];
    private volatile HostView? _view;
    private Process? _process;
    private Task _reading = Task.CompletedTask;
    private bool _isToEnd;

    public string Name => name;

    public string Address => $"11.{block}.0.2";

    public string Gateway => $"11.{block}.0.1";

    public string Home { get; } = Path.Combine(Files, name);

    /// <summary>What the node said of itself since it was started last; null before it is up.</summary>
    public HostView? View => _view;

    /// <summary>What went wrong on its own: the node has ended, or said what cannot be understood. Null when nothing did.</summary>
    public string? Fault { get; private set; }

    /// <summary>Starts a node here.</summary>
    /// <param name="command"><c>start</c> or <c>seed</c>.</param>
    /// <param name="settings">The configuration, as environment variables without what they all begin with.</param>
    public void Start(string command, params (string Name, string Value)[] settings)
    {
        ProcessStartInfo start = new("nsenter") { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (string argument in (string[])[$"--net=/run/netns/{name}", "dotnet", CommandPath, command, "--home", Home, "--watch", "--json", "--interval", "1s"])
        {
            start.ArgumentList.Add(argument);
        }

        // Nothing of whoever runs this is to configure the nodes.
        foreach (string variable in start.Environment.Keys.Where(key => key.StartsWith("PIPELINE_", StringComparison.Ordinal)).ToArray())
        {
            start.Environment.Remove(variable);
        }

        start.Environment["PIPELINE_MONIKER"] = name;
        start.Environment["PIPELINE_LOG_LEVEL"] = "debug";
        start.Environment["PIPELINE_P2P_LADDR"] = $"tcp://{Address}:26656";
        foreach ((string key, string value) in settings)
        {
            start.Environment["PIPELINE_" + key] = value;
        }

        _view = null;
        _isToEnd = false;
        _process = Process.Start(start) ?? throw new ExpectationException($"The node of {name} cannot be started.");
        _reading = ReadAsync(_process);
    }

    /// <summary>Ends the node at once, with no time to say good-bye.</summary>
    public async Task KillAsync()
    {
        _isToEnd = true;
        _process!.Kill();
        await _reading;
        _process.Dispose();
        _process = null;
        _view = null;
    }

    /// <summary>Tells the node to stop, and waits until it has.</summary>
    /// <returns>Its exit code.</returns>
    public async Task<int> StopAsync(CancellationToken cancellationToken)
    {
        _isToEnd = true;
        if (await Shell.TryAsync("bash", $"-c \"kill -TERM {_process!.Id}\"") is { } problem)
        {
            throw new ExpectationException($"The node of {name} cannot be told to stop: {problem}");
        }

        await _reading.WaitAsync(cancellationToken);
        return _process.ExitCode;
    }

    /// <summary>What the node has logged, and where it has ended.</summary>
    public string[] Log()
    {
        lock (_log)
        {
            return [.. _log];
        }
    }

    private async Task ReadAsync(Process process)
    {
        try
        {
            await Task.WhenAll(ReadStatusAsync(process.StandardOutput), ReadLogAsync(process.StandardError));
            await process.WaitForExitAsync();
            if (!_isToEnd)
            {
                Fault = $"The node of {name} has ended by itself with exit code {process.ExitCode}.";
            }
        }
        catch (Exception e)
        {
            // The program that is tested may say anything.
            Fault = $"The node of {name} said what cannot be understood: {e.Message}";
        }

        changed();
    }

    private async Task ReadStatusAsync(StreamReader output)
    {
        while (await output.ReadLineAsync() is { } line)
        {
            // A node that was killed may have been in the middle of it.
            if (line.EndsWith('}') && !_isToEnd)
            {
                _view = HostView.After(_view, line);
                changed();
            }
        }
    }

    private async Task ReadLogAsync(StreamReader output)
    {
        while (await output.ReadLineAsync() is { } line)
        {
            lock (_log)
            {
                _log.Add(line);
            }
        }
    }
}
