using System.Collections.Immutable;
using Pipeline.Cli.Tap;
using Pipeline.Cli.Tap.Views;

namespace Pipeline.Cli.Tests.Tap;

/// <summary>Keeps what it is to show, and hands it on to another view if there is one.</summary>
internal sealed class RecordingView(ITapView? next = null) : ITapView
{
    private readonly Lock _gate = new();
    private readonly List<(int Count, TaskCompletionSource Reached)> _waiting = [];

    public long Skipped => next?.Skipped ?? 0;

    public ImmutableList<HeardMessage> Messages { get; private set; } = [];

    public ImmutableList<TapNews> News { get; private set; } = [];

    public Task WhenHeardAsync(int count, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            TaskCompletionSource reached = new(TaskCreationOptions.RunContinuationsAsynchronously);
            _waiting.Add((count, reached));
            Check();
            return reached.Task.WaitAsync(cancellationToken);
        }
    }

    public void Show(in HeardMessage message)
    {
        next?.Show(message);
        lock (_gate)
        {
            Messages = Messages.Add(message);
            Check();
        }
    }

    public void Tell(TapNews news)
    {
        next?.Tell(news);
        lock (_gate)
        {
            News = News.Add(news);
        }
    }

    public Task RunAsync(Func<TapSnapshot> read, Task ended) => next?.RunAsync(read, ended) ?? ended;

    private void Check()
    {
        foreach ((int count, TaskCompletionSource reached) in _waiting)
        {
            if (Messages.Count >= count)
            {
                reached.TrySetResult();
            }
        }
    }
}
