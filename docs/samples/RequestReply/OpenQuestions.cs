using System.Collections.Concurrent;
using System.Threading.Channels;

namespace Pipeline.Samples.RequestReply;

/// <summary>
/// The questions that one peer has not answered yet. Each has one of a few places until its answer comes, also when nobody waits for that any
/// more: so late answers are known as such, and who never answers is not asked without end.
/// </summary>
internal sealed class OpenQuestions
{
    private readonly Channel<bool> _places = Channel.CreateUnbounded<bool>();
    private readonly ConcurrentDictionary<ulong, TaskCompletionSource<string>> _replies = [];
    private ulong _lastId;

    public OpenQuestions(int places)
    {
        for (int i = 0; i < places; i++)
        {
            _places.Writer.TryWrite(true);
        }
    }

    public async Task<(ulong Id, Task<string> Reply)> AddAsync(CancellationToken cancellationToken)
    {
        await _places.Reader.ReadAsync(cancellationToken);
        ulong id = Interlocked.Increment(ref _lastId);
        TaskCompletionSource<string> reply = new(TaskCreationOptions.RunContinuationsAsynchronously);
        _replies[id] = reply;
        return (id, reply.Task);
    }

    /// <summary>Ends a question with its answer; false when there is no such question.</summary>
    public bool TryClose(ulong id, string answer)
    {
        if (!_replies.TryRemove(id, out TaskCompletionSource<string>? reply))
        {
            return false;
        }

        _places.Writer.TryWrite(true);
        return reply.TrySetResult(answer);
    }
}
