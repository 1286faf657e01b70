"""The control endpoint: what tests do to a Hub in another process.

| request                   | does                                                             |
|---------------------------|------------------------------------------------------------------|
| `POST /_control/faults`   | adds rules (a JSON object or a list of them)                     |
| `GET /_control/faults`    | the rules, with how often each has struck                        |
| `DELETE /_control/faults` | drops all rules                                                  |
| `GET /_control/requests`  | every request so far                                             |
| `DELETE /_control/requests` | forgets them                                                   |
| `POST /_control/release`  | lets held requests go on                                         |
| `POST /_control/held`     | `{count, timeout_s}`: waits until so many are held               |
| `POST /_control/done`     | `{step, count, timeout_s}`: waits until so many are done         |
| `POST /_control/settled` | `{timeout_s}`: waits until every request so far is done              |
| `POST /_control/client`   | `{pid}`: the process that `kill` rules strike                    |

These requests are not themselves recorded, and no fault strikes them.
"""

import json

from tests.hub.faults import FaultBook, Rule
from tests.hub.ledger import Ledger
from tests.hub.wire import Answer, Request, json_answer


def control(faults: FaultBook, ledger: Ledger, request: Request) -> Answer:
    """Carry out one order."""
    order = json.loads(request.body) if request.body else {}
    match request.method, request.path.removeprefix("/_control/"):
        case "POST", "faults":
            try:
                rules = [Rule(**rule) for rule in (order if isinstance(order, list) else [order])]
            except (TypeError, ValueError) as error:
                return json_answer({"error": str(error)}, status=400)
            for rule in rules:
                faults.add(rule)
        case "GET", "faults":
            return json_answer(faults.as_dicts())
        case "DELETE", "faults":
            faults.clear()
        case "GET", "requests":
            return json_answer(ledger.as_dicts())
        case "DELETE", "requests":
            ledger.clear()
        case "POST", "release":
            faults.release()
        case "POST", "held":
            return json_answer({"happened": faults.wait_until_held(**order)})
        case "POST", "done":
            return json_answer({"happened": ledger.wait_for(**order)})
        case "POST", "settled":
            return json_answer({"happened": ledger.wait_until_settled(**order)})
        case "POST", "client":
            faults.set_client_pid(order["pid"])
        case _:
            return json_answer({"error": f"no such order: {request.method} {request.path}"}, status=404)
    return json_answer({})
