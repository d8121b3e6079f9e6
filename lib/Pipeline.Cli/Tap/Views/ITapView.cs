namespace Pipeline.Cli.Tap.Views;

/// <summary>Shows what is heard, while it is heard.</summary>
internal interface ITapView
{
    /// <summary>Messages that were not shown because the output is too slow.</summary>
    long Skipped { get; }

    /// <summary>Shows a message. From one thread at a time; never waits for the output.</summary>
    void Show(in HeardMessage message);

    /// <summary>Shows what happened. From any thread; never waits for the output.</summary>
    void Tell(TapNews news);

    /// <summary>Writes to the output until all is over and written.</summary>
    /// <param name="read">Reads the figures of the moment.</param>
    /// <param name="ended">Completes when nothing more is shown.</param>
    /// <exception cref="IOException">The output cannot be written.</exception>
    Task RunAsync(Func<TapSnapshot> read, Task ended);
}
