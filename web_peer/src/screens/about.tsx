/** What this is and what keeps it safe, for somebody who was sent a link by a friend. */
export function About() {
  return (
    <div class="stack prose">
      <h1 tabIndex={-1}>About and safety</h1>
      <section class="card">
        <h2>What this is</h2>
        <p>
          CrowdCompute cuts a large computation into small chunks and lets many devices share them. Your browser
          connects directly to other people's devices; a small server only introduces them to each other. You need no
          account.
        </p>
      </section>
      <section class="card">
        <h2>What a task can and cannot do</h2>
        <ul>
          <li>It runs in a closed box: a frame without an origin, inside it a Worker, with no network at all.</li>
          <li>
            It sees the numbers or bytes of its chunk and nothing else: no files, no camera, no cookies, no other tabs, no clock.
          </li>
          <li>It is stopped when it takes more time or memory than it said it would.</li>
          <li>It was signed by its creator. This page checks the signature and the code's hash before it runs.</li>
        </ul>
      </section>
      <section class="card">
        <h2>What you decide</h2>
        <ul>
          <li>
            Nothing is computed before you press Start for that task. Your yes lasts 30 days, and ends with a new
            version.
          </li>
          <li>Pause works at once. Finish lets the chunk in hand end first. Closing the tab ends everything.</li>
          <li>Power says how much of the time this device computes; half, unless you change it.</li>
        </ul>
      </section>
      <section class="card">
        <h2>What others see</h2>
        <ul>
          <li>
            Peers you are connected to see your network address, as in a video call, and the public key of this page.
          </li>
          <li>Everybody in the network can see which chunks this key computed.</li>
          <li>Results are sealed for the task's creator.</li>
        </ul>
      </section>
      <section class="card">
        <h2>Why results can be trusted</h2>
        <p>
          No single device is believed. Each chunk is computed by several that cannot see each other's answers, some are
          checked again without notice, and where two answers differ the chunk is computed once more. Who gave a wrong
          answer loses all votes. The creator signs a certificate that says how sure the results are.
        </p>
      </section>
      <section class="card">
        <h2>What it costs you</h2>
        <p>
          Electricity, some warmth, and a little data. Close the tab, or lower the power, whenever it is in your way.
          Reports of problems are welcome: the <a href="/doctor">connection doctor</a> writes one for you.
        </p>
      </section>
    </div>
  );
}
