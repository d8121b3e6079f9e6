using System.Globalization;
using Pipeline.Cryptography;

namespace Pipeline.Switching;

/// <summary>
/// Keeps something in a file. One loop owns the file: changes that come close together are written together, and who makes them never waits
/// for the disk or hears of its faults.
/// </summary>
/// <typeparam name="T">What is read from the file.</typeparam>
internal sealed class KeptFile<T> : IAsyncDisposable
    where T : IFileContent<T>
{
    private readonly KeptFileOptions _options;
    private readonly string _path;
    private readonly TimeProvider _timeProvider;
    private readonly Func<T, bool>? _reload;
    private readonly Task _loop;

    // Guarded by _gate. Invariant: _round is the one that changes join, until its write begins; there is none after it once _isClosing.
    private readonly Lock _gate = new();
    private Round _round = new();
    private bool _isClosing;

    // Written by the loop.
    private volatile string? _problem;

    // Owned by the loop. _isInTheWay says that a damaged file is still where the new one belongs, because it could not be moved.
    private bool _isOnDisk = true;
    private bool _isInTheWay;

    // Owned by the loop: the file as it was last read or written here.
    private (long Length, DateTime WrittenAt)? _seen;

    /// <summary>Reads the file, sets it aside when it is damaged, and starts the loop.</summary>
    /// <param name="options">What is kept, and where.</param>
    /// <param name="reload">
    /// Takes what is in the file when <see cref="ReloadAsync"/> has read it again, in the loop. Whether it has to be written afterwards. Null when
    /// it is never read again.
    /// </param>
    /// <param name="content">What was in the file.</param>
    /// <exception cref="ArgumentException">The path is empty, a folder or a device.</exception>
    /// <exception cref="IOException">The file is there and cannot be read, which says nothing about what is in it.</exception>
    public KeptFile(KeptFileOptions options, Func<T, bool>? reload, out T content)
    {
        _options = options;
        _path = options.Path;
        _timeProvider = options.TimeProvider;
        _reload = reload;
        EnsureIsFile();
        OwnerFile.DeleteLeftovers(_path);
        try
        {
            content = Read(content => content.Count == 0
                ? $"the {options.Whole} starts empty"
                : $"the {options.Whole} starts with the {content.Count} {options.Things} that could be read");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException(Unreadable(e), e);
        }

        _loop = Task.Run(SaveChangesAsync);
    }

    /// <summary>What was wrong with the file when it was last read, and what was done about it, for people; null when nothing was.</summary>
    public string? Problem => _problem;

    /// <summary>Says that there is something to write soon, after <see cref="KeptFileOptions.Pause"/>.</summary>
    public void SaveSoon() => Change().BeginSoon();

    /// <summary>Says that there is something to write at some time, after <see cref="KeptFileOptions.Interval"/>.</summary>
    public void SaveLater() => Change().Begin();

    /// <summary>Writes what has changed until now. False when that failed.</summary>
    public Task<bool> FlushAsync()
    {
        Round round;
        lock (_gate)
        {
            round = _round;
        }

        round.BeginNow();
        return round.Done.Task;
    }

    /// <summary>Reads the file again. False when it was damaged, or cannot be written.</summary>
    /// <exception cref="ObjectDisposedException">The file is not kept any more.</exception>
    public Task<bool> ReloadAsync()
    {
        Round round;
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isClosing, this);
            round = _round;
            round.Reloaded ??= new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        round.BeginNow();
        return round.Reloaded.Task;
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

    private void EnsureIsFile()
    {
        ArgumentException.ThrowIfNullOrEmpty(_path, "path");
        if (Directory.Exists(_path))
        {
            throw new ArgumentException(
                $"'{_path}' is a folder. The {_options.Things} are kept in a file, such as '{Path.Combine(_path, _options.Example)}'.",
                "path");
        }

        // A file that is damaged is moved, and one that is written is replaced: for root, /dev/null too, which people name to get rid of things.
        string fullPath = Path.GetFullPath(_path);
        if (!OperatingSystem.IsWindows()
            && fullPath.StartsWith("/dev/", StringComparison.Ordinal)
            && !fullPath.StartsWith("/dev/shm/", StringComparison.Ordinal))
        {
            throw new ArgumentException($"'{_path}' is no place for a file. For {_options.Things} that are not kept, make a {_options.Whole} without one.", "path");
        }
    }

    private Round Change()
    {
        lock (_gate)
        {
            _round.HasChanges = true;
            return _round;
        }
    }

    private T Read(Func<T, string> outcome)
    {
        T content;
        try
        {
            content = ReadFile() is { } file
                ? T.Read(file, _timeProvider.GetUtcNow())
                : T.Nothing($"it has more than the {_options.MaxSize} bytes that so many {_options.Things} can take");
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            content = T.Nothing(fault: null);
        }

        _problem = null;
        _seen = Stamp();
        if (content.Fault is not null)
        {
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

            _problem = $"The file of {_options.Things} '{_path}' cannot be used as it is: {content.Fault.TrimEnd('.')}. {place}; {outcome(content)}.";
            _options.LogDamage(_problem);
        }

        return content;
    }

    // A file of another owner, a disk that fails: not damaged, and not to be moved.
    private string Unreadable(Exception e) =>
        $"The file of {_options.Things} '{_path}' cannot be read: {e.Message.TrimEnd('.')}. It has to be a file that this user can read and write.";

    /// <summary>What tells whether somebody else has written the file since; null when it is not there.</summary>
    private (long Length, DateTime WrittenAt)? Stamp()
    {
        FileInfo file = new(_path);
        return file.Exists ? (file.Length, file.LastWriteTimeUtc) : null;
    }

    // Null when there is more; the length that the system tells is not believed.
    private ReadOnlyMemory<byte>? ReadFile()
    {
        using FileStream stream = new(_path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        using MemoryStream content = new();
        byte[] chunk = new byte[64 * 1024];
        while (content.Length <= _options.MaxSize)
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
            await round.Soon.Task.WaitAsync(_options.Interval, _timeProvider).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await round.Urgent.Task.WaitAsync(_options.Pause, _timeProvider).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            lock (_gate)
            {
                isLast = _isClosing;
                _round = isLast ? round : new Round();
            }

            bool mustSave = round.HasChanges || !_isOnDisk;
            bool isGood = true;
            Exception? fault = null;
            try
            {
                // What somebody has written into the file meanwhile is taken before it is written over.
                bool isEdited = mustSave && _reload is not null && !_isInTheWay && Stamp() is { } stamp && stamp != _seen;
                if (round.Reloaded is not null || isEdited)
                {
                    T content = Read(_ => $"the {_options.Whole} stays as it is, and is written again");
                    isGood = content.Fault is null;
                    mustSave |= !isGood || _reload!(content);
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // It may hold what this list does not have: it is not written over before it was read.
                isGood = mustSave = _isOnDisk = false;
                _problem = Unreadable(e);
                LogDamage(_problem);
            }
            catch (Exception e)
            {
                // Of whoever listens to what has changed: no reason to lose what comes later.
                fault = e;
                mustSave = true;
            }

            if (mustSave)
            {
                Save();
            }

            round.Done.SetResult(_isOnDisk);
            _ = fault is null ? round.Reloaded?.TrySetResult(isGood && _isOnDisk) : round.Reloaded?.TrySetException(fault);
        }
    }

    // A logger that throws must not end the loop.
    private void LogDamage(string problem)
    {
        try
        {
            _options.LogDamage(problem);
        }
        catch (Exception)
        {
            // There is nobody to tell.
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
            _options.Save();
            _seen = Stamp();
        }
        catch (Exception e)
        {
            // A disk may fail in any way; what is kept is in memory.
            fault = e.Message;
        }

        _isOnDisk = fault is null;
        try
        {
            if (fault is not null)
            {
                _options.LogFailure(_path, fault);
            }
            else if (!wasOnDisk)
            {
                _options.LogRecovery(_path);
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

        /// <summary>Completes when there is anything to do soon.</summary>
        public TaskCompletionSource Soon { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>Completes when somebody waits.</summary>
        public TaskCompletionSource Urgent { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>Completes when the write has ended: whether all is on disk.</summary>
        public TaskCompletionSource<bool> Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>Completes when the file was read again, and written if need be; null when nobody wants it. Set under the gate.</summary>
        public TaskCompletionSource<bool>? Reloaded { get; set; }

        public void Begin() => Begun.TrySetResult();

        public void BeginSoon()
        {
            Soon.TrySetResult();
            Begin();
        }

        public void BeginNow()
        {
            Urgent.TrySetResult();
            BeginSoon();
        }
    }
}
