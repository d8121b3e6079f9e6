namespace Pipeline.Hosts;

/// <summary>Something was not as it should be; the message says what was expected and what was seen.</summary>
internal sealed class ExpectationException(string message) : Exception(message);
