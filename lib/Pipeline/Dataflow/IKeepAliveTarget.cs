namespace Pipeline.Dataflow;

/// <summary>What the receiving loop tells of what keeps a connection alive.</summary>
internal interface IKeepAliveTarget
{
    void OnPing();

    void OnPong();

    /// <summary>Reading waits for reactors that are behind, so that pongs cannot be read.</summary>
    void OnPause();

    void OnResume();
}
