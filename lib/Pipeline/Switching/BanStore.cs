using System.Collections.Immutable;
using System.Globalization;
using Microsoft.Extensions.Logging;
using Pipeline.Diagnostics;

namespace Pipeline.Switching;

/// <summary>
/// Keeps a list of bans in a file. One loop owns the file: changes that come close together are written together, and who makes them never
/// waits for the disk or hears of its faults.
/// </summary>
internal sealed class BanStore : IAsyncDisposable
{
    /// <summary>How long a change waits for others before all are written.</summary>
    public static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(250);

    private readonly string _path;
    private readonly Func<ImmutableArray<Ban>> _bans;
    private readonly Action<string, byte[]> _replace;
    private readonly TimeProvider _timeProvider;
    private readonly ILogger _logger;
    private readonly Task _loop;

    // Guarded by _gate. Invariant: _round is the one that changes join, until its write begins; there is none after it once _isClosing.
    private readonly Lock _gate = new();
    private Round _round = new();
    private bool _isClosing;

    // Owned by the loop. _isInTheWay says that a damaged file is still where the bans belong, because it could not be moved.
    private bool _isOnDisk = true;
    private bool _isInTheWay;

    /// <summary>Reads the file, sets it aside when it is damaged, and starts the loop.</summary>
    /// <param name="path">The file.</param>
    /// <param name="maxSize">The most bytes to read.</param>
    /// <param name="bans">What to write, at any time after the first change.</param>
    /// <param name="replace">Writes a file, whole or not at all.</param>
    /// <param name="timeProvider">Where time comes from.</param>
    /// <param name="logger">Where faults are told.</param>
    public BanStore(
        string path,
        long maxSize,
        Func<ImmutableArray<Ban>> bans,
        Action<string, byte[]> replace,
        TimeProvider timeProvider,
        ILogger logger)
    {
        _path = path;
        _bans = bans;
        _replace = replace;
        _timeProvider = timeProvider;
        _logger = logger;
        (OpenedBans, Problem) = Open(maxSize);
        _loop = Task.Run(SaveChangesAsync);
    }

    /// <summary>What was in the file.</summary>
    public ImmutableArray<Ban> OpenedBans { get; }

    /// <summary>What was wrong with the file and what was done about it, for people; null when nothing was.</summary>
    public string? Problem { get; }

    /// <summary>Says that there is something to write.</summary>
    public void SetChanged()
    {
        Round round;
        lock (_gate)
        {
            round = _round;
            round.HasChanges = true;
        }

        round.Begun.TrySetResult();
    }

    /// <summary>Writes what has changed until now. False when that failed.</summary>
    public Task<bool> FlushAsync()
    {
        Round round;
        lock (_gate)
        {
            round = _round;
        }

        round.Urgent.TrySetResult();
        round.Begun.TrySetResult();
        return round.Done.Task;
    }

    public async ValueTask DisposeAsync()
    {
        lock (_gate)
        {
            _isClosing = true;
        }

        await FlushAsync().ConfigureAwait(false);
        await _loop.ConfigureAwait(false);
    }

    private (ImmutableArray<Ban> Bans, string? Problem) Open(long maxSize)
    {
        BanFile file;
        try
        {
            file = ReadFile(maxSize) is { } content
                ? BanFile.Read(content, _timeProvider.GetUtcNow())
                : new BanFile([], $"it has more than the {maxSize} bytes that so many bans can take");
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return ([], null);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            file = new BanFile([], $"it cannot be read ({e.Message})");
        }

        if (file.Fault is null)
        {
            return (file.Bans, null);
        }

        string outcome = file.Bans.IsEmpty ? "the list starts empty" : $"the list starts with the {file.Bans.Length} bans that could be read";
        string place;
        try
        {
            place = $"The file was moved to '{SetAside()}'";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _isInTheWay = true;
            place = $"The file could not be moved out of the way, and will not be overwritten before it is ({e.Message})";
        }

        string problem = $"The file of bans '{_path}' cannot be used as it is: {file.Fault.TrimEnd('.')}. {place}; {outcome}.";
        BanLog.FileDamaged(_logger, problem);
        return (file.Bans, problem);
    }

    // Null when there is more; the length that the system tells is not believed.
    private ReadOnlyMemory<byte>? ReadFile(long maxSize)
    {
        using FileStream stream = new(_path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        using MemoryStream content = new();
        byte[] chunk = new byte[64 * 1024];
        while (content.Length <= maxSize)
        {
            int read = stream.Read(chunk);
            if (read == 0)
            {
                return content.GetBuffer().AsMemory(0, (int)content.Length);
            }

            content.Write(chunk, 0, read);
        }

        return null;
    }

    private string SetAside()
    {
        string aside = string.Create(CultureInfo.InvariantCulture, $"{_path}.damaged-{_timeProvider.GetUtcNow():yyyyMMdd'T'HHmmss'Z'}");
        string free = aside;
        for (int i = 2; File.Exists(free); i++)
        {
            free = $"{aside}-{i}";
        }

        File.Move(_path, free);
        return free;
    }

    private async Task SaveChangesAsync()
    {
        bool isLast = false;
        while (!isLast)
        {
            // Replaced by nobody else.
            Round round = _round;
            await round.Begun.Task.ConfigureAwait(false);
            await round.Urgent.Task.WaitAsync(Pause, _timeProvider).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            lock (_gate)
            {
                isLast = _isClosing;
                _round = isLast ? round : new Round();
            }

            if (round.HasChanges || !_isOnDisk)
            {
                Save();
            }

            round.Done.SetResult(_isOnDisk);
        }
    }

    private void Save()
    {
        bool wasOnDisk = _isOnDisk;
        string? fault = null;
        try
        {
            if (_isInTheWay && File.Exists(_path))
            {
                SetAside();
            }

            _isInTheWay = false;
            _replace(_path, BanFile.Write(_bans()));
        }
        catch (Exception e)
        {
            // A disk may fail in any way; the bans are in memory.
            fault = e.Message;
        }

        _isOnDisk = fault is null;
        try
        {
            if (fault is not null)
            {
                BanLog.WriteFailed(_logger, _path, fault);
            }
            else if (!wasOnDisk)
            {
                BanLog.WrittenAgain(_logger, _path);
            }
        }
        catch (Exception)
        {
            // A logger that throws must not end the loop.
        }
    }

    /// <summary>The changes that one write takes to the disk.</summary>
    private sealed class Round
    {
        /// <summary>Whether there is anything to write. Guarded by the gate.</summary>
        public bool HasChanges { get; set; }

        /// <summary>Completes when there is anything to do.</summary>
        public TaskCompletionSource Begun { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>Completes when somebody waits.</summary>
        public TaskCompletionSource Urgent { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>Completes when the write has ended: whether all is on disk.</summary>
        public TaskCompletionSource<bool> Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
