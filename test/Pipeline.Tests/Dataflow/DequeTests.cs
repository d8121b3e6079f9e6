using CsCheck;
using Pipeline.Dataflow;

namespace Pipeline.Tests.Dataflow;

public sealed class DequeTests
{
    [Test]
    public void It_does_what_a_list_does() =>
        Gen.Int[0, 4].Array[0, 200].Sample(
            steps =>
            {
                Deque<string> deque = new();
                List<string> list = [];
                for (int i = 0; i < steps.Length; i++)
                {
                    string item = i.ToString(System.Globalization.CultureInfo.InvariantCulture);
                    switch (steps[i])
                    {
                        case <= 1:
                            deque.AddLast(item);
                            list.Add(item);
                            break;
                        case 2:
                            deque.AddFirst(item);
                            list.Insert(0, item);
                            break;
                        default:
                            if (list.Count > 0)
                            {
                                deque.RemoveFirst();
                                list.RemoveAt(0);
                            }

                            break;
                    }

                    if (deque.Count != list.Count || (list.Count > 0 && deque.First != list[0]))
                    {
                        return false;
                    }
                }

                for (; list.Count > 0; list.RemoveAt(0))
                {
                    if (deque.First != list[0])
                    {
                        return false;
                    }

                    deque.RemoveFirst();
                }

                return deque.Count == 0;
            },
            iter: 5000);
}
